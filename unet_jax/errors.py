"""The error that a user can fix."""


class InputError(ValueError):
  """An error that a user can fix: it says what, where, and the remedy."""

"""The one error that is a user's to mend."""


class InputError(ValueError):
  """What a user can mend: its text says what, where, and the remedy."""

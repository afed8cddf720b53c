"""The errors that end a command with one line."""


class InputError(ValueError):
  """An error that a user can fix: it says what, where, and the remedy."""


class Preempted(Exception):
  """The end of a run that is saved, because a signal asked for it."""

  code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later.

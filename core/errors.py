"""Errors that a user can mend; they are shown as one line, not a traceback."""


class UserError(Exception):
  """Wrong input or environment; the message says what to change."""

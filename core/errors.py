"""Errors that a user can mend; they are shown shortly, not as a traceback."""


class UserError(Exception):
  """Wrong input or environment; the message says what to change."""


class EnvironmentFailure(Exception):
  """An environment raised; the message is the traceback of its own code."""

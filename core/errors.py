"""Errors that a user can mend; they are shown shortly, not as a traceback."""

import os


class UserError(Exception):
  """Wrong input or environment; the message says what to change."""


class WorkerLost(UserError):
  """Another learner of the same run is gone, or silent for too long.

  Nothing is wrong here: started again together, all go on from the last
  checkpoint. The status says so to whoever started them.
  """

  status = os.EX_TEMPFAIL  # 75


class EnvironmentFailure(Exception):
  """An environment raised; the message is the traceback of its own code."""

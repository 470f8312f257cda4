"""Runs that others are compared with, and runs that are killed."""

import functools
import signal
import tempfile
import time
from typing import Any

from absl.testing import parameterized

from tests import runs

# An update is 20 frames, so a run has 60 of them.
NUM_UPDATES = 60
VARIANTS = dict(
  plain={},
  pending_unrolls=dict(num_environments=3),  # Batches are of 4.
  groups_in_turn=dict(num_environments=18),  # One of three at a time.
  lstm=dict(use_lstm=True, xla='auto'),
)


def config_of(logdir: str, variant: str = 'plain', **changes: Any) -> Any:
  """Returns the config of a run that is over in seconds."""
  changes = {
    'total_environment_frames': 20 * NUM_UPDATES,
    **VARIANTS[variant],
    **changes,
  }
  return runs.tiny_config(logdir=logdir, **changes)


@functools.cache
def reference(variant: str) -> Any:
  """Returns the config of a finished run that nothing interrupted."""
  config = config_of(_REFERENCES.name + '/' + variant, variant)
  assert runs.train(config) == config.total_environment_frames
  return config


_REFERENCES = tempfile.TemporaryDirectory()


class RunsTest(parameterized.TestCase):
  """A test of whole runs."""

  def logdir(self) -> str:
    """Returns a new folder."""
    return self.enter_context(tempfile.TemporaryDirectory())

  def kill(self, config: Any, num_updates: int, delay: float = 0.0) -> None:
    """Runs until so many updates, and kills it `delay` seconds later."""
    run = runs.Run(config)
    run.wait_for_updates(num_updates)
    time.sleep(delay)
    run.signal(signal.SIGKILL)
    finished = run.finish()
    self.assertEqual(finished.status, -signal.SIGKILL, finished)

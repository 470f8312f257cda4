"""A test case with a folder and sweeps of short runs in it."""

import pathlib
from typing import Any

from absl.testing import parameterized

from experiments.launch import sweeps

ROOT = pathlib.Path(__file__).resolve().parents[3]


class SweepTestCase(parameterized.TestCase):
  """Has a folder; a sweep's LOGDIR is the folder `runs` in it."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.logdir = self.folder / 'runs'

  def constants(self, **changes: Any) -> dict[str, Any]:
    """Returns those of a sweep of four short runs, changed as given."""
    constants = dict(
      MODULE='tests.experiments.short_run',
      FLAGFILE='',
      OVERRIDES=({'learning_rate': 0.1}, {'learning_rate': 0.2}),
      SEEDS=(1, 2),
      LOGDIR=str(self.logdir),
    )
    return {**constants, **changes}

  def write_sweep(self, **changes: Any) -> str:
    """Writes the sweep of `constants`; returns its path."""
    constants = self.constants(**changes)
    return self.write(''.join(f'{k} = {v!r}\n' for k, v in constants.items()))

  def write(self, text: str) -> str:
    """Writes a sweep file; returns its path."""
    path = self.folder / 'sweep.py'
    path.write_text(text)
    return str(path)

  def read_sweep(self, **changes: Any) -> sweeps.Sweep:
    """Returns the sweep of `constants`."""
    return sweeps.read(self.write_sweep(**changes))

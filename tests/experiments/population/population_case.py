"""A test case with a folder and populations of members without TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from absl.testing import parameterized

from core import checkpointing
from experiments.population import lineage, settings, state

ROOT = pathlib.Path(__file__).resolve().parents[3]
FRAMES_PER_UPDATE = 100


class PopulationTestCase(parameterized.TestCase):
  """Has a folder; the population is in `runs/fast/seed_1`."""

  timeout_secs = 240

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.logdir = self.folder / 'runs' / 'fast' / 'seed_1'

  def constants(self, flags=None, **changes):
    """Returns those of a population of three, changed as given."""
    constants = dict(
      MODULE='tests.experiments.population.member',
      FLAGFILE='',
      OVERRIDES={
        'fast': dict(preset='tiny', total_environment_frames=2000)
        | (flags or {})
      },
      SEEDS=(1,),
      LOGDIR=str(self.folder / 'runs'),
      EXPLORED={
        'learning_rate': ('log_uniform', 1e-3, 1.0),
        'entropy_cost': ('uniform', 0.1, 0.2),
      },
      NUM_MEMBERS=3,
      SLICE_FRAMES=800,
      BURN_IN_FRAMES=800,
      MARGIN=1.0,
    )
    return {**constants, **changes}

  def write_file(self, flags=None, **changes):
    """Writes the population file of `constants`; returns its path."""
    constants = self.constants(flags, **changes)
    path = self.folder / 'population.py'
    path.write_text(''.join(f'{k} = {v!r}\n' for k, v in constants.items()))
    return str(path)

  def population(self, flags=None, **changes):
    """Returns the population of `constants`."""
    return settings.read(self.write_file(flags, **changes)).populations[0]

  def start(self, path, *arguments):
    """Starts a launcher, which ends with the test at the latest."""
    with open(self.folder / 'output', 'w') as output:
      process = subprocess.Popen(
        [sys.executable, '-m', 'experiments.population', path, *arguments],
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
      )
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    return process

  def launch(self, path, *arguments, status=0):
    """Runs a launcher to its end; returns what it printed."""
    process = self.start(path, *arguments)
    found = process.wait(self.timeout_secs)
    output = (self.folder / 'output').read_text()
    self.assertEqual(found, status, output)
    return output

  def members(self):
    """Returns the members of the state on the disk."""
    return json.loads((self.logdir / 'population.json').read_text())['members']

  def events(self, kind):
    """Returns the events of a kind."""
    events = state.read_events(str(self.logdir))
    return [event for event in events if event['event'] == kind]

  def assert_whole(self, population):
    """Checks that no slice is lost, doubled or of another descent.

    The history, the checkpoints' own lineage, what the weights of the members
    have learned in, and the rows of their records must say the same.
    """
    slices = lineage.slices_of(state.read_events(population.logdir))
    self.assertLen(self.events('slice'), len(slices))  # None is doubled.
    for event in slices.values():
      begun, length = event['first_frame'], population.slice_frames
      until = min(begun + length, population.total_frames)
      self.assertEqual(event['env_frames'], until)
      parent = slices.get(event['parent'])
      self.assertEqual(begun, parent['env_frames'] if parent else 0)
    self.assertEmpty(lineage.check(population))
    for i, member in enumerate(self.members()):
      self.assertEqual(member['first_frame'], population.total_frames)
      logdir = pathlib.Path(population.member_logdir(i))
      expected = []
      for event in lineage.ancestry(slices, member['parent']):
        count = event['env_frames'] - event['first_frame']
        numbers = [int(n) for n in event['slice'].split('/')[1:]]
        expected += [numbers] * (count // FRAMES_PER_UPDATE)
      arrays, _, _ = checkpointing.restore_latest(
        str(logdir / 'checkpoints'), print
      )
      found = arrays['agent/learned_in'][: len(expected) + 1].tolist()
      self.assertEqual(found, [*expected, [-1, -1]])
      rows = np.loadtxt(logdir / 'updates.csv', delimiter=',', skiprows=1)
      frames = np.arange(1, len(expected) + 1) * FRAMES_PER_UPDATE
      np.testing.assert_array_equal(rows[:, 1], frames)
      names = {path.name for path in logdir.parent.iterdir()}
      self.assertNotIn(f'{logdir.name}.old', names)
      self.assertNotIn(f'{logdir.name}.new', names)

  def processes(self):
    """Returns the pids of members that were started and still live."""
    pids = set()
    for path in self.logdir.glob('member_*/starts'):
      pids |= {int(line.split()[1]) for line in path.read_text().splitlines()}
    alive = set()
    for pid in pids:
      try:
        with open(f'/proc/{pid}/cmdline') as file:
          if str(self.folder) in file.read():
            alive.add(pid)
      except FileNotFoundError:
        pass
    return alive & pids - {os.getpid()}

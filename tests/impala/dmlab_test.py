"""IMPALA on DeepMind Lab, end to end, against a stand-in for the engine."""

import dataclasses
import os
import pathlib
import re
import sys
import tempfile
import time
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.experience import sources
from core.experience.timing import Timer
from core.instructions import hash_words
from core.suites.tasks import Tasks
from impala.config import DEBUG
from tests import runs

FAKE = str(runs.ROOT / 'tests' / 'fake_deepmind_lab')
TRAINED = 'rooms_collect_good_objects_train'
TESTED = 'rooms_collect_good_objects_test'
LANGUAGE = 'language_execute_random_task'
EPISODE_FRAMES = 52  # 13 steps of 4; the engine plays 50.


def setUpModule():
  path = os.pathsep.join([FAKE, os.environ.get('PYTHONPATH', '')])
  patch = mock.patch.dict(os.environ, {'PYTHONPATH': path})
  patch.start()
  unittest.addModuleCleanup(patch.stop)
  sys.path.insert(0, FAKE)
  unittest.addModuleCleanup(sys.path.remove, FAKE)


def lab_config(**changes):
  """Returns scalable_agent's agent, small: an update is 80 frames."""
  small = dict(
    level_name=f'{TRAINED},{LANGUAGE}',
    num_action_repeats=4,
    use_lstm=True,
    torso='deep',
    num_environments=4,
    batch_size=4,
    total_environment_frames=80 * 6,
  )
  return runs.tiny_config(**{**small, **changes})


def finish(config):
  """Runs the experiment; returns how it ended.

  Of spawned processes Python's resource tracker ends after its parent, and may
  wait for a moment to be reaped.
  """
  run = runs.Run(config)
  try:
    run.wait(runs.TIMEOUT_SECS)
    end, left_children = time.time(), True
    while left_children and time.time() < end + 5.0:
      time.sleep(0.05)
      try:
        run.signal(0)
      except ProcessLookupError:
        left_children = False
  finally:
    finished = run.finish(1.0)
  return finished._replace(time=end, left_children=left_children)


class ActorTest(absltest.TestCase):
  def test_unrolls_hold_the_instruction_of_each_frame(self):
    config = lab_config(torso='shallow', num_environments=3, unroll_length=7)
    agent = runs.make_agent(config)
    actor = sources.make_actor(config, agent, Tasks.of(config), Timer())
    self.addCleanup(actor.close)
    texts = {False: 'hat near red object', True: 'hat near blue object'}
    unrolls = [actor.collect(0) for _ in range(5)]
    first = [u.env_outputs.observation.frame[0] for u in unrolls[0]]
    marks = np.concatenate(first)[:, 0, 0, 2]
    self.assertLen(set(marks.tolist()), 3)  # Each environment has its seed.
    seen = set()
    for pair in unrolls:
      for unroll in pair:
        frame, instruction, _ = unroll.env_outputs.observation
        width = len(unroll.task_id)
        self.assertEqual(frame.shape, (8, width, 72, 96, 3))
        self.assertEqual(instruction.shape, (8, width, 16))
        self.assertEqual(instruction.dtype, np.int32)
        for t in range(8):
          for column, task_id in enumerate(unroll.task_id):
            is_right = frame[t, column, 0, -1, 0] == 255
            text = texts[is_right] if task_id == 1 else ''
            seen.add(text)
            np.testing.assert_array_equal(
              instruction[t, column], hash_words(text, 16)
            )
    self.assertLen(seen, 3)


class EndToEndTest(absltest.TestCase):
  """Trains, resumes and tests the deep recurrent agent."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    logdir = cls.enter_context(tempfile.TemporaryDirectory())
    cls.config = lab_config(
      logdir=logdir,
      actor_mode='async',
      reward_clipping='soft_asymmetric',
      level_cache_dir=f'{logdir}/maps',
    )
    cls.training = finish(cls.config)
    shared = ('level_name', 'num_action_repeats', 'use_lstm', 'torso', 'logdir')
    cls.test_config = dataclasses.replace(
      DEBUG,
      mode='test',
      test_num_episodes=3,
      **{name: getattr(cls.config, name) for name in shared},
    )
    cls.testing = finish(cls.test_config)

  def test_ends_well(self):
    for finished in (self.training, self.testing):
      self.assertEqual(finished.status, 0, finished)
      self.assertNotIn('Traceback', finished.stderr)
      # On a CPU it complains of every tf.transpose of integers.
      self.assertNotIn('oneDNN', finished.stderr)
      self.assertFalse(finished.left_children)

  def test_training_is_recorded(self):
    updates = runs.rows(self.config, 'updates.csv')
    self.assertLen(updates, 6)
    self.assertEqual(updates[-1]['env_frames'], '480')
    episodes = runs.rows(self.config, 'episodes.csv')
    self.assertEqual({e['task'] for e in episodes}, {TRAINED, LANGUAGE})
    for episode in episodes:
      self.assertEqual(episode['episode_length'], str(EPISODE_FRAMES))
      self.assertBetween(float(episode['episode_return']), 0, 50)
    self.assertIn('"action_set": "impala"', self._read('run.json'))

  def test_test_levels_are_played_exactly_as_often_as_asked(self):
    rows = runs.rows(self.test_config, 'evaluation.csv')
    self.assertEqual(
      [(row['task'], row['length']) for row in rows],
      3 * [(TESTED, str(EPISODE_FRAMES))]
      + 3 * [(LANGUAGE, str(EPISODE_FRAMES))],
    )
    self.assertIn('test levels', rows[0]['protocol'])
    table = self._read('evaluation.md')
    for part in (TESTED, 'Experts', 'capped mean of 2'):
      self.assertIn(part, table)
      self.assertIn(part[:12], self.testing.stdout)

  def _read(self, name):
    return pathlib.Path(self.config.logdir, name).read_text()


class BadEndTest(parameterized.TestCase):
  CASES = {
    'failing': ('async', 'tests/failing_test'),
    'dying': ('sync', 'tests/dying_test'),
  }

  @parameterized.named_parameters(*((name, name) for name in CASES))
  def test_ends_with_the_traceback(self, name):
    actor_mode, level = self.CASES[name]
    config = lab_config(
      logdir=self.create_tempdir().full_path,
      torso='shallow',
      actor_mode=actor_mode,
      level_name=f'{level},{LANGUAGE}',
      total_environment_frames=80 * 50,
    )
    finished = finish(config)
    self.assertGreater(finished.status, 0, finished)
    self.assertIn('Traceback', finished.stderr)
    if name != 'dying':
      self.assertIn('ArithmeticError: the engine is lost', finished.stderr)
      self.assertRegex(finished.stderr, r'deepmind_lab\.py", line \d+, in step')
    else:
      self.assertIn('tests/dying_test: exit code 3', finished.stderr)
    raised = re.search(r'raised at ([\d.]+)', finished.stderr)
    self.assertLess(finished.time - float(raised[1]), 5.0)
    self.assertFalse(finished.left_children)

  @parameterized.named_parameters(
    (
      'missing',
      'lab:no_such_level',
      'DeepMind Lab cannot play no_such_level: .*Level not found',
    ),
    (
      'bad_map',
      'tests/bad_map_test',
      'DeepMind Lab ended; tests/bad_map_test: exit code 1',
    ),
  )
  def test_level_that_never_plays_is_one_line(self, level, message):
    config = lab_config(
      logdir=self.create_tempdir().full_path, torso='shallow', level_name=level
    )
    finished = finish(config)
    self.assertEqual(finished.status, 1, finished)
    self.assertNotIn('Traceback', finished.stderr)
    self.assertRegex(finished.stderr.splitlines()[-1], f'error: {message}')
    self.assertFalse(finished.left_children)


if __name__ == '__main__':
  absltest.main()

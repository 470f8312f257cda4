"""PopArt and pixel control on DeepMind Lab, on a stand-in for the engine.

tests/impala/dmlab_test.py has the same for IMPALA, and what goes wrong there.
"""

import dataclasses
import os
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from pixel_control.config import DEBUG as PIXEL_CONTROL
from popart.config import DEBUG as POPART
from tests import runs

FAKE = str(runs.ROOT / 'tests' / 'fake_deepmind_lab')
LEVELS = 'rooms_watermaze,language_execute_random_task'


class DmLabTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('popart', POPART, {}),
    ('pixel_control', PIXEL_CONTROL, {'pixel_control_border': 0}),
  )
  def test_trains_and_tests(self, preset, changes):
    path = os.pathsep.join([FAKE, os.environ.get('PYTHONPATH', '')])
    self.enter_context(mock.patch.dict(os.environ, {'PYTHONPATH': path}))
    config = runs.tiny_config(
      preset,
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      level_name=LEVELS,
      action_set='popart',
      reward_clipping='soft_asymmetric',
      num_action_repeats=4,
      use_lstm=True,
      torso='deep',
      total_environment_frames=80 * 4,
      **changes,
    )
    finished = runs.Run(config).finish()
    self.assertEqual(finished.status, 0, finished)
    updates = runs.rows(config, 'updates.csv')
    self.assertLen(updates, 4)
    self.assertEqual('pixel_control_loss' in updates[0], bool(changes))
    if changes:
      self.assertGreater(float(updates[-1]['pixel_control_loss']), 0.0)
    statistics = runs.rows(config, 'tasks.csv')
    self.assertEqual({row['task'] for row in statistics}, {*LEVELS.split(',')})
    self.assertNotIn(0.0, [float(row['shift']) for row in statistics[-2:]])
    finished = runs.Run(
      dataclasses.replace(
        preset,
        mode='test',
        test_num_episodes=2,
        logdir=config.logdir,
        level_name=LEVELS,
        action_set='popart',
        num_action_repeats=4,
        use_lstm=True,
        torso='deep',
        **changes,
      )
    ).finish()
    self.assertEqual(finished.status, 0, finished)
    rows = runs.rows(config, 'evaluation.csv')
    self.assertEqual(
      [row['task'] for row in rows],
      [t for t in LEVELS.split(',') for _ in '12'],
    )


if __name__ == '__main__':
  absltest.main()

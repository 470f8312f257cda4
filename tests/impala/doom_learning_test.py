"""Learning itself in first person: a room with a goal, two convolutions.

With actions of 8 tics random play returns 20 or so; each of the environments
plays an episode in 115,200 frames.
"""

import dataclasses
import tempfile

import numpy as np
import pytest
from absl.testing import absltest

from impala.config import DMLAB_SINGLE_LEVEL
from tests import runs
from tests.doom import needs_wheels

NUM_ENVIRONMENTS = 32
THRESHOLD = 50.0


@needs_wheels
@pytest.mark.slow
class LearningTest(absltest.TestCase):
  def test_one_room(self):
    config = dataclasses.replace(
      DMLAB_SINGLE_LEVEL,
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      level_name='doom:one_room',
      torso='shallow',
      use_lstm=False,
      width=48,
      height=36,
      num_action_repeats=8,
      actor_mode='sync',
      num_environments=NUM_ENVIRONMENTS,
      batch_size=8,
      unroll_length=20,
      learning_rate=0.002,
      entropy_cost=0.005,
      epsilon=0.01,
      max_gradient_norm=40.0,
      total_environment_frames=1_500_000,
      stop_frames=240_000,
      log_updates=20,
    )
    runs.train(config)
    episodes = runs.rows(config, 'episodes.csv')
    returns = [float(row['episode_return']) for row in episodes]
    self.assertLen(returns, 2 * NUM_ENVIRONMENTS)
    self.assertGreater(np.mean(returns[NUM_ENVIRONMENTS:]), THRESHOLD)


if __name__ == '__main__':
  absltest.main()

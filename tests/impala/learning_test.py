"""Learning itself: Catch, from pixels to nearly every ball.

Random play returns -0.57 on average, perfect play 1.
"""

import tempfile

import numpy as np
import pytest
from absl.testing import absltest

from tests import runs

THRESHOLD = 0.8


class LearningTest(absltest.TestCase):
  def mean_return(self, **changes):
    config = runs.tiny_config(
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      num_environments=16,
      batch_size=16,
      unroll_length=20,
      learning_rate=0.003,
      total_environment_frames=150_000,
      stop_frames=80_000,
      checkpoint_updates=10**6,
      log_updates=50,
      xla='auto',
      **changes,
    )
    runs.train(config)
    episodes = runs.rows(config, 'episodes.csv')
    returns = [float(row['episode_return']) for row in episodes]
    self.assertBetween(np.mean(returns[:500]), -0.8, -0.3)
    return np.mean(returns[-1000:])

  def test_catch(self):
    self.assertGreater(self.mean_return(), THRESHOLD)

  @pytest.mark.slow
  def test_catch_async(self):
    mean = self.mean_return(actor_mode='async', num_actors=2)
    self.assertGreater(mean, THRESHOLD)


if __name__ == '__main__':
  absltest.main()

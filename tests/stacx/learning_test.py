"""Learning itself: Catch, and an inner discount that starts far too low.

Random play returns -0.57 on average, perfect play 1.
"""

import dataclasses
import tempfile

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from stacx.config import CATCH
from tests import runs

THRESHOLD = 0.8


@pytest.mark.slow
class LearningTest(parameterized.TestCase):
  def run_catch(self, **changes):
    """Returns mean returns of the first and last episodes, and last metrics."""
    config = dataclasses.replace(
      CATCH,
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      actor_mode='sync',
      total_environment_frames=150_000,
      stop_frames=100_000,
      **changes,
    )
    runs.train(config)
    rows = runs.rows(config, 'episodes.csv')
    returns = [float(row['episode_return']) for row in rows]
    self.assertBetween(np.mean(returns[:300]), -0.85, -0.3)
    return np.mean(returns[-1000:]), runs.rows(config, 'updates.csv')[-1]

  @parameterized.named_parameters(
    ('impala', dict(num_heads=1, self_tuned='')),
    ('stac', dict(num_heads=1)),
    ('stacx', dict(num_heads=3)),
  )
  def test_catch(self, settings):
    found, _ = self.run_catch(**settings)
    self.assertGreater(found, THRESHOLD)

  def test_gamma_tunes_itself(self):
    _, metrics = self.run_catch(
      num_heads=1, initial_values='gamma=.5', meta_learning_rate=0.01
    )
    self.assertGreater(float(metrics['gamma_head_1']), 0.8)


if __name__ == '__main__':
  absltest.main()

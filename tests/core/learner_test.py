"""What core/actor_learner.py's Learner makes of an agent's metrics."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from core.actor_learner import Learner
from core.timing import Timer
from tests import runs
from tests.unrolls import SMALL_SPEC, random_unroll


class PerTaskAgent:
  """Reports a scalar and two vectors, and looks at what it learns from."""

  env_spec = SMALL_SPEC

  def update(self, unroll, learning_rate):
    return dict(
      total_loss=tf.reduce_sum(unroll.env_outputs.reward),
      shift=tf.constant([0.5, -2.0], tf.float64),
      gradient_norm=learning_rate,
      scale=tf.constant([3.0, 4.0]),
    )


class MetricsTest(absltest.TestCase):
  def test_metrics_per_task_are_told_from_scalars(self):
    unroll = random_unroll(5, 4)
    learner = Learner(runs.tiny_config(), PerTaskAgent(), Timer())
    row, task_metrics = learner.step(unroll)
    self.assertEqual(
      task_metrics,
      dict(a=dict(shift=0.5, scale=3.0), b=dict(shift=-2.0, scale=4.0)),
    )
    self.assertEqual(
      list(row),
      [
        *('num_updates', 'env_frames', 'total_loss', 'gradient_norm'),
        *('learning_rate', 'policy_lag_mean', 'policy_lag_max'),
      ],
    )
    np.testing.assert_allclose(
      row['total_loss'], np.sum(unroll.env_outputs.reward), rtol=1e-5
    )
    self.assertIsInstance(row['gradient_norm'], float)

  def test_metrics_of_the_only_task(self):
    class OneTaskAgent(PerTaskAgent):
      env_spec = SMALL_SPEC._replace(task_names=('a',))

      def update(self, unroll, learning_rate):
        metrics = super().update(unroll, learning_rate)
        return {
          name: value[..., :1] if value.ndim else value
          for name, value in metrics.items()
        }

    learner = Learner(runs.tiny_config(), OneTaskAgent(), Timer())
    row, task_metrics = learner.step(random_unroll(5, 4))
    self.assertEqual(task_metrics, dict(a=dict(shift=0.5, scale=3.0)))
    self.assertNotIn('shift', row)

  def test_no_metrics_per_task(self):
    config = runs.tiny_config()
    learner = Learner(config, runs.make_agent(config), Timer())
    row, task_metrics = learner.step(random_unroll(5, 4))
    self.assertEqual(task_metrics, {})
    self.assertEqual((row['num_updates'], row['env_frames']), (1, 20))


if __name__ == '__main__':
  absltest.main()

"""Tests of core/training/benchmark.py: it measures what training does."""

import contextlib
import io

import numpy as np
from absl.testing import absltest, parameterized

from core.suites.tasks import Tasks
from core.training import benchmark
from tests import runs


class BenchmarkTest(parameterized.TestCase):
  @parameterized.parameters(('sync', 1), ('async', 2))
  def test_reports_rates_that_fit_together(self, actor_mode, num_actors):
    config = runs.tiny_config(
      mode='benchmark', actor_mode=actor_mode, num_actors=num_actors
    )
    agent = runs.make_agent(config)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      results = benchmark.benchmark(config, agent, Tasks.of(config), secs=2.0)
    rates = [
      results.pop(name) for name in ('environments alone', 'learner alone')
    ]
    training = results.pop(f'training, {actor_mode}')
    for rate in (*rates, training):
      self.assertEqual(rate.shape, (benchmark.NUM_ROUNDS,))
    self.assertTrue(np.all(training > 0.0))
    for rate in rates:
      self.assertTrue(np.all(training < rate))
    np.testing.assert_allclose(results.pop('share'), training / rates[0])
    mean, greatest = results.pop('policy lag')
    if actor_mode == 'sync':
      self.assertEqual((mean, greatest), (0.0, 0.0))
    else:
      self.assertBetween(mean, 0.1, greatest)
    text = ' '.join(printed.getvalue().split())
    self.assertIn(f'Policy lag {mean:.1f} updates', text)
    self.assertBetween(results.pop('peak memory, GB'), 0.1, 24.0)
    self.assertEmpty(results)
    self.assertIn(f'N={4 * num_actors}, B=4', printed.getvalue())
    self.assertIn(f'{np.median(training):,.0f}', printed.getvalue())


if __name__ == '__main__':
  absltest.main()

"""The benchmark measures what training does."""

from absl.testing import absltest

from core import benchmark
from tests import runs


class BenchmarkTest(absltest.TestCase):
  def test_reports_rates_that_fit_together(self):
    config = runs.tiny_config(mode='benchmark')
    agent = runs.make_agent(config)
    results = benchmark.benchmark(
      config, agent, runs.protocol_of(config), secs=1.0
    )
    self.assertContainsSubset(
      {
        'environments alone',
        'training, sync',
        'training, async',
        'learner alone',
        'peak memory, GB',
      },
      set(results),
    )
    for name in ('training, sync', 'training, async'):
      self.assertGreater(results[name], 0.0)
      self.assertLess(results[name], results['environments alone'])
      self.assertLess(results[name], results['learner alone'])
    self.assertBetween(results['peak memory, GB'], 0.1, 24.0)


if __name__ == '__main__':
  absltest.main()

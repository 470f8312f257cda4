"""Seeds of training and of test mode: none is in both."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.experience import actors, sources
from core.experience.timing import Timer
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from tests import runs

SPAN = 10_000  # Environments of an actor, and test episodes of a task.


class SeedsTest(parameterized.TestCase):
  def assert_apart(self, seed, index, offset):
    first = actors.first_seed(seed, index, offset)
    self.assertBetween(first, 0, 2**30 - 1)
    self.assertGreater(abs(first - seed), SPAN, (seed, index, offset))

  def test_no_seed_of_training_is_one_of_the_tests(self):
    for seed in (0, 1, 2, 10**6):
      for index in range(40):
        self.assert_apart(seed, index, 0)
    for seed in np.random.default_rng(0).integers(0, 2_000_000_000, 1000):
      self.assert_apart(int(seed), 0, 0)

  @parameterized.parameters(0, 1, 7, 2**29, 2**30 - 1, 2**30 + 5)
  def test_no_resumed_run_comes_back_to_them(self, seed):
    for late in (-SPAN, -1, 0, 1, SPAN):
      self.assert_apart(seed, 0, seed + late - 1_000_003 * seed)

  def test_seeds_of_recorded_runs_are_as_they_were(self):
    for seed in range(1, 6):
      self.assertEqual(actors.first_seed(seed, 0, 0), 1_000_003 * seed)
    self.assertEqual(actors.first_seed(1, 2, 7), 1_000_003 + 20_021)
    self.assertEqual(actors.first_seed(2000, 0, 0), 2_000_006_000 - 2**30)

  def test_environments_begin_there(self):
    seeds, reset = [], TaskEnvironments.reset

    def record(environments, seed):
      seeds.append(seed)
      return reset(environments, seed=seed)

    config = runs.tiny_config(seed=0)
    agent, tasks = runs.make_agent(config), Tasks.of(config)
    with mock.patch.object(TaskEnvironments, 'reset', record):
      sources.make_source(config, agent, tasks, Timer(), {}).close()
    self.assertEqual(seeds, [2**29, 2**29 + 2])


if __name__ == '__main__':
  absltest.main()

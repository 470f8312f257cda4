"""How old a policy is that DeepMind Lab's flag files of Distral learn from."""

import collections
import dataclasses

from absl.flags import FlagValues
from absl.testing import absltest, parameterized

from core import flags
from core.experience import sources
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.tasks import Tasks
from distral.config import PRESETS, Config
from tests import runs

NUM_TASKS = {'mazes': 6, 'navigation': 4, 'laser_tag': 8}
GOALS = [f'two_rooms/{row}/{column}' for row in (1, 5) for column in (1, 4, 12)]


def parse(name):
  """Returns the config of a flag file."""
  path = runs.ROOT / 'experiments' / 'distral' / f'figure_4_{name}.flags'
  values = FlagValues()
  flags.define(Config, PRESETS, values)
  argv = ['experiment', f'--flagfile={path}', '--preset=kl_ent_2col']
  values(argv)
  return flags.resolve(Config, PRESETS, values, argv)


class Figure4FlagsTest(parameterized.TestCase):
  @parameterized.parameters(*NUM_TASKS)
  def test_workers_and_batches_are_the_papers(self, name):
    config, num_tasks = parse(name), NUM_TASKS[name]
    self.assertLen(config.level_name.split(','), num_tasks)
    self.assertEqual(config.num_environments, 32 * num_tasks)
    self.assertEqual(config.batch_size, num_tasks)
    # A group is one environment of each task: its unrolls are a batch.
    self.assertEqual(config.group_widths(num_tasks), [num_tasks] * 32)
    self.assertEqual((config.actor_mode, config.use_vtrace), ('sync', False))

  def test_unrolls_are_learned_from_at_once(self):
    config = dataclasses.replace(
      parse('mazes'),
      level_name=','.join(GOALS),
      num_action_repeats=1,
      torso='mlp',
      use_lstm=False,
      unroll_length=2,
      xla='off',
    )
    agent, tasks = runs.make_agent(config), Tasks.of(config)
    source = sources.make_source(config, agent, tasks, Timer(), {})
    self.addCleanup(source.close)
    lags, num_batches = collections.Counter(), 64
    for num_updates in range(num_batches):
      batch = source.next_batch(num_updates, Interrupt())
      self.assertCountEqual(batch.task_id, range(6))
      lags.update((num_updates - batch.policy_version).tolist())
    # README, D9: half of them in the very next update.
    half = 6 * num_batches // 2
    self.assertEqual(lags, {0: half, 1: half})


if __name__ == '__main__':
  absltest.main()

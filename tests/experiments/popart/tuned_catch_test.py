"""Table and figure of tuned_catch, from fake records of its populations."""

import os
import pathlib
from unittest import mock

import pandas as pd
from absl.testing import absltest

from experiments.popart import scaled_catch, tuned_catch
from experiments.population import settings

SLICES = (
  # Member, slice, parent, first frame.
  (0, 'x/0/0', '', 0),
  (1, 'x/1/0', '', 0),
  (1, 'x/1/1', 'x/0/0', 100),
  (0, 'x/0/1', 'x/0/0', 100),
)


def events():
  """Returns the history of two members, of which 1 copied 0 and is the best."""
  found = [
    dict(event='slice', member=m, slice=s, parent=p, first_frame=f, secs=1.0)
    | dict(env_frames=f + 100, fitness=1.0 + m, values={'learning_rate': 0.1})
    for m, s, p, f in SLICES
  ]
  copy = dict(event='evolve', member=1, is_copied=True, next_parent='x/0/0')
  return [*found[:2], copy, *found[2:], dict(event='end', best=1)]


class TunedCatchTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.enter_context(mock.patch.object(tuned_catch, 'FOLDER', self.folder))

  def test_nine_populations_that_only_differ_in_agent_and_seed(self):
    populations = settings.read(tuned_catch.FILE).populations
    heads = [population.config.value_head for population in populations]
    self.assertEqual(heads, ['popart', 'multi_head', 'single'] * 3)
    for population in populations:
      self.assertEqual(population.num_members, 8)
      self.assertEqual(population.rule, populations[0].rule)
      self.assertEqual(population.total_frames % population.slice_frames, 0)
      self.assertLen(population.references, 7)

  def test_slices_that_the_best_descends_from_are_marked(self):
    table = tuned_catch.slice_table(events())
    self.assertEqual(
      dict(zip(table.slice, table.is_best, strict=True)),
      {'0/0': 1, '1/0': 0, '1/1': 1, '0/1': 0},
    )

  def test_table_and_figure(self):
    self.assertEqual(tuned_catch.make_table(), tuned_catch.NOT_RUN)
    rows = [
      (agent, task, seed, 0, episode, scale * (seed - 1) / 2, 9, 'p')
      for agent in tuned_catch.AGENTS
      for task, scale in scaled_catch.SCALE_OF_TASK.items()
      for seed in (2, 3)
      for episode in range(2)
    ]
    names = ('agent', 'task', 'seed', 'member', 'episode', 'return', 'length')
    tests = pd.DataFrame(rows, columns=[*names, 'protocol'])
    tests.to_csv(os.path.join(self.folder, 'evaluation.csv'), index=False)
    slices = tuned_catch.slice_table(events()).assign(
      entropy_cost=0.1, max_gradient_norm=40.0
    )
    of_agents = [
      slices.assign(agent=agent, seed=1) for agent in tuned_catch.AGENTS
    ]
    path = os.path.join(self.folder, 'slices.csv')
    pd.concat(of_agents).to_csv(path, index=False)
    lines = tuned_catch.make_table().splitlines()
    for line, name in zip(lines[2:5], tuned_catch.AGENTS.values(), strict=True):
      cells = ' | '.join(['0.75 (0.50)'] * 7)  # Seeds 2 and 3: 0.5 and 1.
      self.assertEqual(
        line, f'| {name} | tuned | 2 populations of 8 | {cells} | 0, 7 |'
      )
    self.assertLen(lines, 8)  # And the untuned figures that are recorded.
    picture = pathlib.Path(self.folder, 'figure.png')
    tuned_catch.draw(str(picture))
    self.assertGreater(picture.stat().st_size, 10_000)


if __name__ == '__main__':
  absltest.main()

"""Population files: what they say, what is refused, and the picture."""

import os

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.suites.suite import Reference
from experiments.population import members, picture, settings, state
from tests.experiments.population.population_case import PopulationTestCase


class SettingsTest(PopulationTestCase):
  def test_each_setting_and_seed_is_a_population(self):
    path = self.write_file(
      OVERRIDES={
        name: dict(preset='tiny', total_environment_frames=frames)
        for name, frames in (('a', 1000), ('b', 2000))
      },
      SEEDS=(1, 2),
      STAGES=({}, {'mode': 'test', 'test_num_episodes': 7}),
    )
    found = settings.read(path).populations
    self.assertEqual(
      [(p.name, p.total_frames, p.seed) for p in found],
      [
        ('a/seed_1', 1000, 1),
        ('b/seed_1', 2000, 1),
        ('a/seed_2', 1000, 2),
        ('b/seed_2', 2000, 2),
      ],
    )
    self.assertEqual(found[3].member_seed(2), 2002)
    self.assertEqual(found[3].test_run.modes, ('test',))
    self.assertEqual(list(found[3].references), ['catch'])
    self.assertFalse(any('seed' in word for word in found[3].command))

  @parameterized.named_parameters(
    ('one', dict(NUM_MEMBERS=1), 'NUM_MEMBERS must be .* at least 2, not 1'),
    ('many', dict(NUM_MEMBERS=1001), 'NUM_MEMBERS must be at most 1000'),
    ('fraction', dict(NUM_MEMBERS=2.5), 'NUM_MEMBERS must be a whole number'),
    ('slice', dict(SLICE_FRAMES=0), 'SLICE_FRAMES must be'),
    ('long', dict(SLICE_FRAMES=2001), 'SLICE_FRAMES is 2001, more than'),
    ('burn_in', dict(BURN_IN_FRAMES=-1), 'BURN_IN_FRAMES must be'),
    ('episodes', dict(FITNESS_EPISODES=0), 'FITNESS_EPISODES must be'),
    ('margin', dict(MARGIN='x'), 'MARGIN must be 0 to'),
    ('probability', dict(PROBABILITY=1.5), 'PROBABILITY must be 0 to 1'),
    ('factor', dict(FACTOR=0.8), 'FACTOR must be 1 to'),
    ('nothing', dict(EXPLORED={}), 'EXPLORED must be a dict of ranges'),
    (
      'range',
      dict(EXPLORED={'learning_rate': ('uniform', 2, 1)}),
      'EXPLORED: learning_rate: the lower bound 2 is above the upper, 1',
    ),
    (
      'flag_bound',
      dict(EXPLORED={'learning_rate': ('uniform', 1, 11)}),
      '11 is not within what --learning_rate takes, 0 to 10',
    ),
    (
      'unknown',
      dict(EXPLORED={'learning_rat': ('uniform', 1, 2)}),
      "has no field 'learning_rat'; learning_rate",
    ),
    (
      'fixed',
      dict(EXPLORED={'discounting': ('uniform', 0.9, 1)}),
      'discounting may not change while a run goes on; these may: '
      'entropy_cost, learning_rate$',
    ),
    ('constant', dict(SLICE_FRAME=3), 'SLICE_FRAME is not .*SLICE_FRAMES'),
    (
      'flag_of_no_test',
      dict(flags=dict(log_updates=2), STAGES=({}, {'mode': 'test'})),
      '--log_updates does nothing with --mode=test',
    ),
    ('learners', dict(LEARNERS=2), 'LEARNERS is not for populations'),
    ('test_first', dict(STAGES=({'mode': 'test'},)), 'must train'),
    ('flag', dict(flags=dict(colour='red')), "Unknown command line flag 'col"),
    (
      'value',
      dict(flags=dict(learning_rate=-1)),
      'learning_rate must be at le',
    ),
    ('own_stop', dict(flags=dict(stop_frames=5)), '--stop_frames is of the sl'),
    ('seed', dict(SEEDS=(2_000_000,)), 'SEEDS: 2000000 is above 1,999,999'),
    ('module', dict(MODULE='core.files'), 'core.files is not a paper'),
    ('replay', dict(MODULE='brc.experiment'), 'has no actors'),
    (
      'score',
      dict(flags=dict(level_name='gym:CartPole-v1')),
      'no score of 0 and 100 % is known for gym:CartPole-v1: give REFERENCES',
    ),
  )
  def test_refused(self, changes, pattern):
    with self.assertRaisesRegex(UserError, f'population.py: .*{pattern}') as e:
      self.population(**changes)
    self.assertNotIn('\n', str(e.exception))

  @parameterized.parameters(*settings.REQUIRED)
  def test_missing(self, name):
    constants = self.constants()
    del constants[name]
    path = self.folder / 'population.py'
    path.write_text(''.join(f'{k} = {v!r}\n' for k, v in constants.items()))
    with self.assertRaisesRegex(UserError, f'{name} is missing'):
      settings.read(str(path))


class FitnessTest(PopulationTestCase):
  def write_episodes(self, rows):
    lines = ['env_frames,task,episode_return,episode_length,wall_secs']
    lines += [f'{i},{task},{r},1,1' for i, (task, r) in enumerate(rows)]
    (self.folder / 'episodes.csv').write_text('\n'.join(lines) + '\n')

  def test_mean_of_capped_scores_of_the_newest_episodes(self):
    population = self.population(FITNESS_EPISODES=6)
    references = {'a': Reference(-1.0, 1.0), 'b': Reference(0.0, 10.0)}
    object.__setattr__(population, 'references', references)
    old = [('a', 50.0), ('b', 50.0)] * 3
    new = [('a', 0.0), ('b', 20.0), ('a', 0.5)] * 2  # 62.5 % and 200 %.
    self.write_episodes([*old, *new])
    fitness, returns = members.measure(population, str(self.folder))
    self.assertAlmostEqual(fitness, (62.5 + 100.0) / 2)
    self.assertEqual(returns, {'a': 0.25, 'b': 20.0})

  def test_unknown_without_an_episode_of_each_task(self):
    population = self.population()
    self.assertIsNone(members.measure(population, str(self.folder))[0])
    self.write_episodes([('other', 1.0)])
    self.assertIsNone(members.measure(population, str(self.folder))[0])


class PictureTest(PopulationTestCase):
  def test_picture_of_a_history(self):
    population = self.population()
    store = state.Store(population)
    store.begin()
    path = str(self.folder / 'lineage.png')
    with self.assertRaisesRegex(UserError, 'no slice has ended yet'):
      picture.draw(population, path)
    slices = [
      dict(event='slice', member=m, slice=s, parent=p, first_frame=f)
      | dict(env_frames=f + 800, fitness=fitness, returns={}, secs=1.0)
      | dict(values={'learning_rate': 0.1 * (m + 1), 'entropy_cost': 0.1})
      for m, s, p, f, fitness in (
        (0, 'x/0/0', '', 0, 1.0),
        (1, 'x/1/0', '', 0, None),
        (1, 'x/1/1', 'x/0/0', 800, 5.0),
      )
    ]
    store.commit(slices)
    folder = population.member_logdir(1)
    os.makedirs(folder)
    with open(os.path.join(folder, 'evaluation.csv'), 'w') as file:
      file.write('task,episode,return,length,protocol\ncatch,0,1.0,9,p\n')
    picture.draw(population, path)
    from matplotlib import image

    pixels = image.imread(path)[..., :3]
    self.assertGreater(pixels.shape[1], 1000)
    blue = np.all(np.abs(pixels * 255 - (63, 144, 218)) < 3, axis=-1)
    # The best descends from member 0's first slice: in the panel of lineages,
    # which is the first of three columns and two rows, and in the others.
    height, width = blue.shape
    self.assertGreater(blue[: height // 2, : width // 3].sum(), 500)
    self.assertGreater(blue[height // 2 :].sum(), 500)


if __name__ == '__main__':
  absltest.main()

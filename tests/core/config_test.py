"""Tests of core/config.py, and of what the papers' fields say with it."""

import dataclasses
import json
import pathlib

from absl.testing import absltest, parameterized

from core import config as configs
from core.config import field
from core.run_config import ActorLearnerConfig, RunConfig
from core.suites.options import SuiteOptions
from impala.config import PRESETS
from impala.config import Config as ImpalaConfig


@dataclasses.dataclass(frozen=True)
class Config:
  logdir: str = field('/tmp', 'A.', may_change=True, changes_learning=False)
  batch_size: int = field(2, 'B.', minimum=1)
  learning_rate: float = field(0.1, 'C.', explored=True)
  seed: int = field(1, 'D.', changes_learning=False, modes=('train',))


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(), {'logdir', 'batch_size', 'learning_rate', 'seed'}),
    (dict(may_change=True), {'logdir'}),
    (dict(may_change=False), {'batch_size', 'learning_rate', 'seed'}),
    (dict(explored=True), {'learning_rate'}),
    (dict(changes_learning=False), {'logdir', 'seed'}),
    (dict(changes_learning=False, may_change=False), {'seed'}),
    (dict(modes=('train',)), {'seed'}),
    (dict(minimum=1), {'batch_size'}),
    (dict(may_change=True, explored=True), set()),
  )
  def test_fields_that_were_declared_so(self, metadata, expected):
    self.assertEqual(configs.names(Config, **metadata), expected)
    self.assertEqual(configs.names(Config(seed=7), **metadata), expected)

  def test_what_no_field_says(self):
    with self.assertRaises(KeyError):
      configs.names(Config, may_chance=True)


class DescribeTest(absltest.TestCase):
  def test_json_holds_it(self):
    config = Config(seed=7)
    found = json.loads(json.dumps(configs.describe(config)))
    self.assertEqual(Config(**found), config)
    self.assertEqual(list(found), [f.name for f in dataclasses.fields(Config)])


class SharedFieldsTest(parameterized.TestCase):
  def test_a_paper_has_the_fields_of_run_and_suites(self):
    names = configs.names(ImpalaConfig)
    for shared in (SuiteOptions, RunConfig, ActorLearnerConfig):
      self.assertContainsSubset(configs.names(shared), names)

  def test_what_a_resume_may_change_changes_no_learning_but_its_end(self):
    may_change = configs.names(ImpalaConfig, may_change=True)
    self.assertContainsSubset(
      {'logdir', 'mode', 'stop_frames', 'checkpoint_secs', 'level_cache_dir'},
      may_change,
    )
    changes = configs.names(
      ImpalaConfig, may_change=True, changes_learning=True
    )
    # Machines come and go, and unrolls are older the more actors there are.
    self.assertEqual(changes, {'stop_frames', 'num_remote_actors'})

  def test_what_a_population_explores(self):
    # Espeholt et al. 2018, appendix F, and the gradient norm as on Atari.
    self.assertEqual(
      configs.names(ImpalaConfig, explored=True),
      {'entropy_cost', 'learning_rate', 'epsilon', 'max_gradient_norm'},
    )

  def test_seeds_of_a_row_may_differ_in_the_machine(self):
    names = configs.names(ImpalaConfig, changes_learning=False)
    self.assertContainsSubset({'seed', 'strategy', 'xla', 'logdir'}, names)
    self.assertNoCommonElements(
      {'precision', 'actor_mode', 'num_action_repeats', 'torso'}, names
    )

  def test_what_is_not_reproducible_is_said(self):
    (mode,) = (
      f for f in dataclasses.fields(ImpalaConfig) if f.name == 'actor_mode'
    )
    self.assertRegex(
      mode.metadata['doc'], 'to the bit but for the laser-tag levels'
    )
    readme = pathlib.Path(__file__).parents[2] / 'README.md'
    text = ' '.join(readme.read_text().split())
    claim = text[text.index('`--actor_mode=sync` alternates') :][:500]
    self.assertIn('Not so the laser-tag levels of DeepMind Lab', claim)

  @parameterized.parameters(*PRESETS)
  def test_presets_have_values_in_range(self, name):
    config = PRESETS[name]
    for f in dataclasses.fields(config):
      value, metadata = getattr(config, f.name), f.metadata
      if metadata['choices']:
        self.assertIn(value, metadata['choices'])
      if metadata['minimum'] is not None:
        self.assertGreaterEqual(value, metadata['minimum'])
      if metadata['maximum'] is not None:
        self.assertLessEqual(value, metadata['maximum'])


if __name__ == '__main__':
  absltest.main()

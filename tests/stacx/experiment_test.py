"""The command: presets, records, resuming, and what it says to wrong input."""

import dataclasses
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from stacx import config as stacx_config
from stacx.config import DEBUG, Config, initial_etas
from tests import runs


class ConfigTest(parameterized.TestCase):
  TABLE_3 = dict(
    decay=0.99,
    epsilon=0.1,
    momentum=0.0,
    max_gradient_norm=0.0,
    lambda_outer=1.0,
    alpha_rho=1.0,
    alpha_c=1.0,
    entropy_cost=0.01,
    baseline_cost=2 * 0.25,
    policy_cost=1.0,
    kl_cost=1.0,
    meta_learning_rate=1e-3,
    meta_beta_1=0.9,
    meta_beta_2=0.999,
    meta_epsilon=1e-4,
    initial_eta=4.6,
    truncation=1.0,
    num_heads=3,
  )
  ATARI = dict(
    total_environment_frames=int(200e6),
    learning_rate=6e-4,
    final_learning_rate_fraction=0.0,
    batch_size=32,
    unroll_length=20,
    discounting=0.995,
    torso='deep',
    use_lstm=False,
  )
  CONTROL = dict(
    total_environment_frames=int(30e6),
    learning_rate=1e-3,
    final_learning_rate_fraction=0.1,
    batch_size=24,
    unroll_length=40,
    unroll_overlap=30,
    discounting=0.99,
    use_lstm=True,
  )

  PIXELS = dict(torso='strided', control_observations='pixels')

  @parameterized.named_parameters(
    ('atari', 'ATARI', ATARI),
    ('features', 'CONTROL_FEATURES', CONTROL),
    ('pixels', 'CONTROL_PIXELS', dict(CONTROL, **PIXELS)),
    ('rwrl', 'RWRL', CONTROL),
  )
  def test_presets_hold_tables_2_and_3(self, name, values):
    config = getattr(stacx_config, name)
    for field, value in {**self.TABLE_3, **values}.items():
      self.assertEqual(getattr(config, field), value, field)

  def test_starts_of_metaparameters(self):
    config = dataclasses.replace(
      DEBUG,
      self_tuned='gamma,g_v, alpha',
      initial_values='gamma=.5,alpha=0.9',
      initial_eta=2.0,
    )
    found = 1.0 / (1.0 + np.exp(-np.array(initial_etas(config))))
    expected = [0.5, 1.0 / (1.0 + np.exp(-2.0)), 0.9]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    self.assertEqual(
      initial_etas(dataclasses.replace(DEBUG, self_tuned='')), []
    )


class RunTest(parameterized.TestCase):
  def config(self, **changes):
    """Returns a small run of 22 updates; an episode may have 100 steps."""
    settings = dict(
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
      total_environment_frames=20 * 22,
      num_heads=2,
      self_tuned='gamma,alpha,g_e',
    )
    return runs.tiny_config(DEBUG, **{**settings, **changes})

  @parameterized.named_parameters(
    ('catch', dict(behaviour='random_head')),
    (
      'continuous_lstm',
      dict(
        level_name='point_mass/2',
        policy='tanh_gaussian',
        use_lstm=True,
        unroll_length=10,
        unroll_overlap=5,
        num_heads=1,
      ),
    ),
  )
  def test_stopped_run_ends_as_the_whole_one(self, settings):
    whole, parted = self.config(**settings), self.config(**settings)
    runs.train(whole)
    runs.train(dataclasses.replace(parted, stop_frames=20 * 9))
    runs.train(parted)
    runs.assert_same_run(parted, whole)
    arrays, _ = runs.restore(parted)
    self.assertContainsSubset(
      ['agent/eta', 'agent/eta_adam/mean', 'agent/eta_adam/num_steps'], arrays
    )
    self.assertEqual(arrays['agent/eta_adam/num_steps'], 22)
    self.assertTrue(np.all(arrays['agent/eta'][0] != np.float32(4.6)))
    rows = runs.rows(parted, 'updates.csv')
    self.assertLen(rows, 22)
    self.assertContainsSubset(
      [
        *('gamma_head_1', 'gamma_gradient_head_1', 'kl', 'outer_loss'),
        'truncated_share_head_1',
      ],
      rows[0],
    )


class WrongInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('metaparameter', ['--self_tuned=gamma,delta'], 'metaparameter delta;'),
    ('no_heads', ['--num_heads=0'], 'num_heads must be at least 1, not 0'),
    ('alpha', ['--alpha_rho=1.5'], 'alpha_rho must be at most 1, not 1.5'),
    ('alphas', ['--alpha_rho=0.5'], 'is less than --alpha_c=1.0'),
    (
      'discrete_policy',
      ['--level_name=point_mass/2'],
      'point_mass/2 has continuous actions, --policy=softmax is for others',
    ),
    (
      'continuous_policy',
      ['--policy=tanh_gaussian'],
      'catch has discrete actions, --policy=tanh_gaussian is for others',
    ),
    ('overlap', ['--unroll_overlap=7'], 'leaves 13 new steps, which do not'),
    ('start', ['--initial_values=gamma=1'], 'gamma=1 is not a name and a num'),
    ('start_of', ['--self_tuned=g_v', '--initial_values=gamma=.5'], 'not tun'),
  )
  def test_is_one_line(self, flags, message):
    logdir = self.create_tempdir().full_path
    finished = runs.command(
      'stacx.experiment', '--preset=debug', f'--logdir={logdir}', *flags
    )
    self.assertEqual(finished.status, 1, finished)
    self.assertNotIn('Traceback', finished.stderr)
    (line,) = (
      x for x in finished.stderr.splitlines() if x.startswith('error: ')
    )
    self.assertIn(message, line)

  def test_every_field_has_its_source(self):
    for field in dataclasses.fields(Config):
      self.assertTrue(field.metadata['doc'].endswith('.'), field.name)


if __name__ == '__main__':
  absltest.main()

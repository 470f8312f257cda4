"""Fields that are not declared as `changes_play` change nothing that is played.

Of every paper two agents play the same checkpoint: one with the config that it
was trained with, and one with every field changed that test mode lets differ.
"""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

import brc.config
import brc.drq_config
import distral.config
import impala.config
import pixel_control.config
import popart.config
import stacx.config
from core import config as configs
from core.errors import UserError
from core.training import resume
from core.types import ActionBox, EnvOutput, EnvSpec, Observation
from tests import runs, unrolls

TRAINED = {
  'impala': impala.config.Config(torso='shallow'),
  'popart': popart.config.Config(torso='shallow'),
  'pixel_control': pixel_control.config.Config(
    torso='shallow', pixel_control_cell_size=2
  ),
  'distral': distral.config.Config(torso='mlp'),
  # With an extra head, which the other agent has not.
  'stacx': stacx.config.Config(
    torso='shallow', outer_value_head=True, gamma_embedding='separate'
  ),
}
# Values that are valid together. The grid of pixel control, whose sizes are
# shapes of variables, is compared with these.
OTHERS = dict(
  alpha_loss=0.0,
  initial_values='gamma=.5',
  pixel_control_cell_size=2,
  pixel_control_border=0,
)
MACHINE = ('mode', 'strategy', 'xla')


def other_value(field, value):
  """Returns another value of a field, in its range."""
  choices, minimum, maximum = (
    field.metadata[key] for key in ('choices', 'minimum', 'maximum')
  )
  if field.name in OTHERS:
    return OTHERS[field.name]
  if choices:
    return choices[(choices.index(value) + 1) % len(choices)]
  if isinstance(value, bool):
    return not value
  if isinstance(value, str):
    return 'other'
  if maximum is not None and 2 * value > maximum:
    return type(value)((minimum + value) / 2)
  return type(value)(2 * value or 1)


def other_config(config):
  """Returns a config that test mode takes for the same one."""
  kept = configs.names(config, changes_play=True) | {*MACHINE}
  return dataclasses.replace(
    config,
    **{
      f.name: other_value(f, getattr(config, f.name))
      for f in dataclasses.fields(config)
      if f.name not in kept
    },
  )


def play(agent):
  """Returns the logits of 3 steps in each of two tasks."""
  rng, state, logits = np.random.default_rng(0), agent.initial_state(2), []
  for step in range(3):
    env_output = unrolls.random_env_output(rng, unrolls.SMALL_SPEC, 2)
    env_output = tf.nest.map_structure(
      tf.constant, env_output._replace(info=())
    )
    output, state = agent.act(
      tf.constant([0, 1]),
      tf.constant([1, 2]),
      env_output,
      state,
      tf.constant([0, step]),
    )
    logits.append(output.policy_logits.numpy())
  return np.stack(logits)


class ChangesPlayTest(parameterized.TestCase):
  @parameterized.parameters(*TRAINED)
  def test_the_same_is_played_where_all_else_differs(self, paper):
    config = dataclasses.replace(TRAINED[paper], mode='test', xla='off')
    agent = runs.agent_of(config, unrolls.SMALL_SPEC)
    rng = np.random.default_rng(1)
    for variable in agent.variables().values():
      noise = rng.normal(scale=0.1, size=variable.shape)
      variable.assign_add(noise.astype(variable.dtype.as_numpy_dtype))
    other = other_config(config)
    resume.check_played(other, configs.describe(config))
    player = runs.agent_of(other, unrolls.SMALL_SPEC)
    arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
    resume.load_variables(player, arrays)
    logits = play(agent)
    self.assertGreater(logits.std(axis=-1).min(), 1e-4)
    np.testing.assert_array_equal(play(player), logits)

  def test_brc_plays_the_same_where_all_else_differs(self):
    config = brc.config.Config(
      mode='test', xla='off', critic_width=8, actor_width=8, num_atoms=5
    )
    box = ActionBox((-1.0,) * 2, (1.0,) * 2)
    spec = EnvSpec(('a', 'b'), action_box=box, num_features=4)
    other = other_config(config)
    resume.check_played(other, configs.describe(config))
    agent, player = runs.agent_of(config, spec), runs.agent_of(other, spec)
    arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
    resume.load_variables(player, arrays)
    features = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    seen = EnvOutput((), (), (), Observation(features=tf.constant(features)))
    actions, expected = (
      x.act(tf.constant([0, 1]), (), seen, (), tf.constant([0, 1]))[0].action
      for x in (player, agent)
    )
    self.assertGreater(np.ptp(expected), 1e-4)
    np.testing.assert_array_equal(actions, expected)

  def test_brc_on_frames_plays_the_same_where_all_else_differs(self):
    config = brc.drq_config.Config(
      mode='test',
      xla='off',
      encoder_channels='2,3',
      critic_width=8,
      num_atoms=5,
      evaluation_epsilon=0.2,
    )
    spec = EnvSpec(('a', 'b'), num_actions=9, frame_shape=(12, 12, 1))
    other = other_config(config)
    resume.check_played(other, configs.describe(config))
    agent, player = runs.agent_of(config, spec), runs.agent_of(other, spec)
    arrays = {f'agent/{n}': v.numpy() for n, v in agent.variables().items()}
    resume.load_variables(player, arrays)
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(60, 12, 12, 1)).astype(np.uint8)
    seen = EnvOutput((), (), (), Observation(tf.constant(frames)))
    task_id = tf.constant(30 * [0, 1])
    actions, expected = (
      x.act(task_id, (), seen, (), tf.constant([0, 1]))[0].action
      for x in (player, agent)
    )
    self.assertGreater(len(set(expected.numpy())), 3)
    np.testing.assert_array_equal(actions, expected)

  @parameterized.parameters(
    {'embedding_norm': 'l1'}, {'architecture': 'simba'}, {'actor_width': 8}
  )
  def test_another_network_of_brc_is_refused(self, **changes):
    config = brc.config.Config()
    (name,) = changes
    with self.assertRaisesRegex(UserError, f'{name} was'):
      resume.check_played(
        dataclasses.replace(config, **changes), configs.describe(config)
      )

  @parameterized.named_parameters(
    ('entropy_in_the_return', 'kl_2col', 'kl_ent_2col', 'alpha_arch was 1.0'),
    ('one_column', 'kl_2col', 'kl_1col', 'architecture was two_column, is ta'),
    ('the_other_way', 'kl_1col', 'kl_2col', 'architecture was task, is two_c'),
  )
  def test_an_algorithm_of_the_same_variables(self, trained, played, message):
    trained, played = (
      distral.config.ALGORITHMS[name] for name in (trained, played)
    )
    with self.assertRaisesRegex(UserError, message):
      resume.check_played(played, configs.describe(trained))

  def test_a_checkpoint_that_is_older_than_a_field(self):
    saved = configs.describe(popart.config.Config())
    del saved['value_head'], saved['preset']  # popart, by default.
    resume.check_played(popart.config.Config(), {**saved, 'gone': 1})
    with self.assertRaisesRegex(UserError, 'value_head was popart, is single'):
      resume.check_played(popart.config.Config(value_head='single'), saved)


if __name__ == '__main__':
  absltest.main()

"""Tests of core/experience/actor.py."""

import copy

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from core.environments import catch, point_mass
from core.experience.actor import Actor
from core.experience.timing import Timer
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from core.types import AgentOutput
from core.unrolls import join_unrolls, select_columns
from tests import runs
from tests.tasks import tasks_of
from tests.unrolls import assert_unrolls_equal

T = 5
TASK_ID = (0, 1, 1)


def make_actor(config, agent, group_sizes, seed=3, num_joined=1):
  groups = [
    TaskEnvironments(
      Tasks.of(config), np.zeros(size, np.int32), is_training=True
    )
    for size in group_sizes
  ]
  return Actor(
    agent.act,
    agent.initial_state,
    groups,
    agent.env_spec,
    config.unroll_length,
    seed,
    Timer(),
    num_joined,
  )


def entry(unroll, t):
  """Returns the outputs of environment and agent at one entry."""
  outputs = (unroll.env_outputs, unroll.agent_outputs)
  return tf.nest.map_structure(lambda x: x[t], outputs)


class CatchActorTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.agents = {}
    for use_lstm in (False, True):
      config = runs.tiny_config(unroll_length=T, use_lstm=use_lstm)
      cls.agents[use_lstm] = (config, runs.make_agent(config))

  def collect(self, num_unrolls, group_sizes, use_lstm=False):
    """Returns the unrolls, each a list over groups."""
    actor = make_actor(*self.agents[use_lstm], group_sizes)
    self.addCleanup(actor.close)
    return [actor.collect(10 + k) for k in range(num_unrolls)]

  @parameterized.named_parameters(
    ('one_group', (4,), False),
    ('two_groups', (2, 2), False),
    ('uneven_groups', (3, 1), False),
    ('lstm', (2, 2), True),
  )
  def test_entry_0_repeats_the_last_of_the_previous(self, sizes, use_lstm):
    unrolls = self.collect(4, sizes, use_lstm)
    for previous, following in zip(unrolls, unrolls[1:], strict=False):
      for a, b in zip(previous, following, strict=True):
        assert_unrolls_equal(entry(b, 0), entry(a, T))

  @parameterized.parameters(2, 4)
  def test_overlapping_unrolls_are_windows_of_what_was_played(self, k):
    config, agent = self.agents[True]
    actors = [
      make_actor(config, agent, (2, 1), num_joined=num) for num in (1, k)
    ]
    for actor in actors:
      self.addCleanup(actor.close)
    plain = [actors[0].collect(10 + i) for i in range(k + 3)]
    # The first call plays K parts with one version, the others one each.
    joined = [actors[1].collect(10 + i) for i in range(4)]
    for group in (0, 1):
      parts = [unrolls[group] for unrolls in plain]
      for i, unrolls in enumerate(joined):
        unroll = unrolls[group]
        window = parts[i : i + k]
        for t in range(k * T + 1):
          part = window[min(t // T, k - 1)]
          found, expected = (
            entry(unroll, t),
            entry(part, t - T * min(t // T, k - 1)),
          )
          info = expected[0].info
          if i and t <= (k - 1) * T:  # Reported before.
            info = info._replace(episode_done=np.zeros_like(info.episode_done))
          expected = (expected[0]._replace(info=info), expected[1])
          assert_unrolls_equal(found, expected)
        assert_unrolls_equal(unroll.core_state, window[0].core_state)
        version = 10 if i < k else 10 + i - k + 1
        np.testing.assert_array_equal(unroll.policy_version, version)

  def test_every_episode_is_reported_once(self):
    actor = make_actor(*self.agents[False], (3,), num_joined=4)
    self.addCleanup(actor.close)
    ends = [
      unroll.env_outputs.info.episode_done[1:].sum()
      for _ in range(6)
      for unroll in actor.collect(0)
    ]
    # 4 + 5 parts of 5 steps, in 3 games of 9 steps an episode.
    self.assertEqual(sum(ends), 3 * (9 * T // 9))

  def test_very_first_entry(self):
    for unroll in self.collect(1, (2, 1), use_lstm=True)[0]:
      env_output, agent_output = entry(unroll, 0)
      self.assertTrue(env_output.done.all())
      zeros = (env_output.reward, env_output.info, agent_output)
      for leaf in tf.nest.flatten((zeros, unroll.core_state)):
        self.assertFalse(np.any(leaf))
      # A ball in the uppermost row, the paddle in the middle.
      frame = env_output.observation.frame[:, ::2, ::4, 0]
      self.assertEqual(np.count_nonzero(frame[:, 0]), len(frame))
      self.assertTrue(np.all(frame[:, -1, 2] == 255))

  @parameterized.named_parameters(
    ('one_group', (4,), False),
    ('two_groups', (2, 2), False),
    ('lstm', (4,), True),
    ('lstm_two_groups', (1, 3), True),
  )
  def test_behaviour_logits_belong_to_the_entry_before(self, sizes, use_lstm):
    _, agent = self.agents[use_lstm]
    unrolls = self.collect(4, sizes, use_lstm)
    for group in range(len(sizes)):
      core_state = agent.initial_state(sizes[group])
      for unroll in (u[group] for u in unrolls):
        # What is recorded is the state before entry 0.
        for found, expected in zip(unroll.core_state, core_state, strict=True):
          np.testing.assert_allclose(found, expected, atol=1e-5)
        inputs = tf.nest.map_structure(
          lambda x: tf.constant(x[:-1]),
          (unroll.agent_outputs.action, unroll.env_outputs),
        )
        output = agent.network(*inputs, unroll.core_state)
        recorded = unroll.agent_outputs
        np.testing.assert_allclose(
          recorded.policy_logits[1:], output.policy_logits, atol=1e-5
        )
        core_state = output.core_state
    done = np.concatenate([u[0].env_outputs.done[1:] for u in unrolls])
    self.assertTrue(done.any(axis=0).all())  # Of whole episodes, with resets.

  def test_environment_outputs_follow_the_recorded_actions(self):
    unrolls = self.collect(5, (3,))
    envs = catch.make_vector_env(3, is_training=True)
    frames, _ = envs.reset(seed=3)
    total = np.zeros(3)
    length = np.zeros(3, int)
    for (unroll,) in unrolls:
      np.testing.assert_array_equal(
        unroll.env_outputs.observation.frame[0], frames
      )
      for t in range(1, T + 1):
        output = entry(unroll, t)[0]
        frames, rewards, done, _, _ = envs.step(unroll.agent_outputs.action[t])
        np.testing.assert_array_equal(output.observation.frame, frames)
        np.testing.assert_array_equal(output.reward, rewards)
        np.testing.assert_array_equal(output.done, done)
        np.testing.assert_array_equal(output.info.episode_done, done)
        total, length = total + rewards, length + 1
        np.testing.assert_array_equal(output.info.episode_return, total)
        np.testing.assert_array_equal(output.info.episode_step, length)
        total[done], length[done] = 0, 0

  def test_groups_split_the_same_environments(self):
    (whole,) = self.collect(1, (4,))[0]
    parts = self.collect(1, (3, 1))[0]
    first = [u.env_outputs.observation.frame[0] for u in parts]
    np.testing.assert_array_equal(
      np.concatenate(first), whole.env_outputs.observation.frame[0]
    )

  def test_every_draw_has_a_seed_of_its_own(self):
    # With the same seed twice, equal rows of two groups or two steps would
    # draw the same actions.
    unrolls = self.collect(8, (2, 2))
    actions = np.concatenate(
      [[u.agent_outputs.action[1:] for u in pair] for pair in unrolls], axis=1
    )  # [2, 8 T, 2]
    self.assertTrue(np.any(actions[0] != actions[1]))
    self.assertTrue(np.any(actions[:, 1:] != actions[:, :-1]))
    for row in actions.transpose(0, 2, 1).reshape(4, -1):
      self.assertEqual(set(row), {0, 1, 2})

  def test_policy_version_and_tasks(self):
    unrolls = self.collect(2, (2, 1))
    for version, pair in zip((10, 11), unrolls, strict=True):
      for unroll, size in zip(pair, (2, 1), strict=True):
        np.testing.assert_array_equal(unroll.policy_version, [version] * size)
        self.assertEqual(unroll.policy_version.dtype, np.int64)
        np.testing.assert_array_equal(unroll.task_id, [0] * size)

  def test_unrolls_are_not_written_to_again(self):
    actor = make_actor(*self.agents[True], (2, 1))
    self.addCleanup(actor.close)
    first = actor.collect(0)
    kept = copy.deepcopy(first)
    for _ in range(3):
      actor.collect(0)
    assert_unrolls_equal(first, kept)

  def test_state_there_and_back(self):
    actor, other = (
      make_actor(*self.agents[True], (2, 1), seed) for seed in (3, 4)
    )
    self.addCleanup(actor.close)
    self.addCleanup(other.close)
    actor.collect(0)
    state = copy.deepcopy(actor.get_state())
    for array in tf.nest.flatten(state['arrays']):
      self.assertIsInstance(array, np.ndarray)
    expected = [actor.collect(1) for _ in range(4)]
    other.set_state(state)
    assert_unrolls_equal([other.collect(1) for _ in range(4)], expected)

  def test_empty_unroll_has_the_shapes(self):
    actor = make_actor(*self.agents[True], (2, 2))
    self.addCleanup(actor.close)
    unroll = actor.collect(0)[0]
    empty = actor.empty_unroll(3)
    wide = join_unrolls([unroll, select_columns(unroll, slice(0, 1))])
    for a, b in zip(tf.nest.flatten(empty), tf.nest.flatten(wide), strict=True):
      self.assertEqual((a.shape, a.dtype), (b.shape, b.dtype))


class ContinuousActorTest(absltest.TestCase):
  def test_tasks_of_different_lengths(self):
    tasks = tasks_of('point_mass/2', 'point_mass/1')
    spec = tasks.env_spec

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      del task_id, last_action
      moments = tf.concat([env_output.observation.features[:, :2]] * 2, axis=1)
      action = tf.random.stateless_uniform([len(TASK_ID), 2], seed, -1.0, 1.0)
      return AgentOutput(action, moments), core_state

    task_id = np.array(TASK_ID, np.int32)
    envs = TaskEnvironments(tasks, task_id, is_training=True)
    actor = Actor(act, lambda n: (), [envs], spec, T, 3, Timer())
    self.addCleanup(actor.close)
    alone = point_mass.make_vector_env(1, 2)  # Rows 1 and 2.
    expected, _ = alone.reset(seed=4)
    for _ in range(3):
      (unroll,) = actor.collect(0)
      actions, moments = unroll.agent_outputs
      self.assertEqual((actions.shape, actions.dtype), ((T + 1, 3, 2), 'f4'))
      self.assertEqual((moments.shape, moments.dtype), ((T + 1, 3, 4), 'f4'))
      frame, instruction, features = unroll.env_outputs.observation
      self.assertEqual((frame, instruction), ((), ()))
      self.assertEqual(features.shape, (T + 1, 3, 6))
      self.assertFalse(features[:, 1:, 3:].any())
      np.testing.assert_array_equal(features[0, 1:, :3], expected)
      for t in range(1, T + 1):
        np.testing.assert_array_equal(moments[t, :, :2], features[t - 1, :, :2])
        expected, rewards, *_ = alone.step(actions[t, 1:, :1])
        np.testing.assert_array_equal(features[t, 1:, :3], expected)
        np.testing.assert_array_equal(
          unroll.env_outputs.reward[t, 1:], rewards.astype(np.float32)
        )

  def test_the_first_action_is_zero(self):
    tasks = tasks_of('point_mass/2')
    envs = TaskEnvironments(tasks, np.zeros(1, np.int32), is_training=True)

    @tf.function(autograph=False)
    def act(task_id, last_action, env_output, core_state, seed):
      return AgentOutput(last_action + 0.25, last_action), core_state

    actor = Actor(act, lambda n: (), [envs], tasks.env_spec, T, 3, Timer())
    self.addCleanup(actor.close)
    (unroll,) = actor.collect(0)
    expected = 0.25 * np.arange(T + 1, dtype=np.float32)
    for d in range(2):
      found = unroll.agent_outputs.action[:, 0, d]
      np.testing.assert_array_equal(found, expected)


class AtariActorTest(absltest.TestCase):
  def test_returns_are_of_whole_games(self):
    config = runs.tiny_config(
      level_name='breakout', num_action_repeats=4, unroll_length=40
    )
    actor = make_actor(config, runs.make_agent(config), (2, 2))
    self.addCleanup(actor.close)
    columns = [join_unrolls(actor.collect(0)).env_outputs for _ in range(7)]
    reward, info, done = (
      tf.nest.map_structure(
        lambda *x: np.concatenate([a[1:] for a in x]),
        *(getattr(c, name) for c in columns),
      )
      for name in ('reward', 'info', 'done')
    )
    self.assertGreaterEqual(info.episode_done.sum(), 3)
    self.assertGreater(done.sum(), 3 * info.episode_done.sum())  # Lives.
    totals = []
    for column in range(4):
      total, length = 0.0, 0
      for t in range(len(reward)):
        total, length = total + reward[t, column], length + 1
        self.assertEqual(info.episode_return[t, column], total)
        self.assertEqual(info.episode_step[t, column], length)
        if info.episode_done[t, column]:
          totals.append(total)
          total, length = 0.0, 0
    self.assertGreater(max(totals), 0)


if __name__ == '__main__':
  absltest.main()

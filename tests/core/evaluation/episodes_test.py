"""Tests of core/evaluation/episodes.py."""

import collections

import gymnasium
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from core.environments import catch, point_mass
from core.environments.atari import AtariProtocol
from core.evaluation import episodes
from core.evaluation.episodes import Policy
from core.suites.task_environments import TaskEnvironments
from core.types import ActionBox, AgentOutput, EnvSpec
from tests import runs
from tests.tasks import PlayedAs


class Lengths(gymnasium.Env):
  """Episodes of the given lengths in turn; +1 per step; a frame is the step."""

  observation_space = gymnasium.spaces.Box(0, 255, (1, 1, 1), np.uint8)
  action_space = gymnasium.spaces.Discrete(256)

  def __init__(self, lengths, num_noops=(0,)):
    self._lengths, self._num_noops = lengths, num_noops
    self._index = -1

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._index += 1
    self._step = 0
    num_noops = self._num_noops[self._index % len(self._num_noops)]
    return self._frame(), {'episode_frame_number': num_noops}

  def step(self, action):
    self._step += 1
    is_over = self._step == self._lengths[self._index % len(self._lengths)]
    info = {'episode_frame_number': 4 * self._step}
    return self._frame(), 1.0, is_over, False, info

  def _frame(self):
    return np.full([1, 1, 1], self._step, np.uint8)


class Lives(gymnasium.vector.VectorEnv):
  """Every step loses a life; every third ends the game, as `AtariEnv` tells."""

  def __init__(self):
    self.num_envs = 1

  def reset(self, *, seed=None, options=None):
    self._step = 0
    return np.zeros([1, 1, 1, 1], np.uint8), {}

  def step(self, actions):
    self._step += 1
    return (
      np.zeros([1, 1, 1, 1], np.uint8),
      np.ones(1, np.float32),
      np.ones(1, bool),
      np.zeros(1, bool),
      {'episode_done': np.array([self._step % 3 == 0])},
    )


def make_env(*environments):
  return SyncVectorEnv(
    [lambda e=e: e for e in environments],
    autoreset_mode=AutoresetMode.SAME_STEP,
  )


class Recorder:
  """An agent whose action and core state count its steps; keeps its inputs."""

  def __init__(self, num_actions=256):
    self.calls = []
    self._num_actions = num_actions

  def __call__(self, last_action, env_output, core_state, seed):
    self.calls.append((last_action, env_output, core_state, seed))
    if len(self.calls) > 1000:
      raise AssertionError('plays on for ever')
    (count,) = core_state
    action = (tf.cast(count, tf.int32) + 1) % self._num_actions
    output = AgentOutput(action, tf.zeros([len(action), 2]))
    return output, (count + 1,)


def policy_of(act):
  """Returns the policy of discrete actions that `act` is."""
  return Policy(
    act,
    lambda num_rows: (np.zeros(num_rows, np.float32),),
    lambda num_rows: np.zeros(num_rows, np.int32),
  )


def play(environment, num_episodes, task_of_row, names=('a',), **kwargs):
  act = kwargs.pop('act', Recorder())
  return list(
    episodes.play_episodes(
      environment,
      policy_of(act),
      num_episodes,
      np.array(task_of_row),
      names,
      protocol='p',
      seed=5,
      num_action_repeats=4,
      **kwargs,
    )
  )


class PlayEpisodesTest(parameterized.TestCase):
  def test_long_and_short_episodes_come_in_the_right_mix(self):
    # Half of the rows play long episodes only. Whoever takes the first 16 gets
    # 16 short ones.
    short, long = [2], [50]
    environment = make_env(*[Lengths([short, long][i % 2]) for i in range(8)])
    rows = play(environment, 16, [0] * 8)
    counts = collections.Counter(row['return'] for row in rows)
    self.assertEqual(counts, {2.0: 8, 50.0: 8})

  @parameterized.named_parameters(
    ('fewer_than_rows', 2), ('even', 6), ('remainder', 7)
  )
  def test_exact_number_of_episodes_numbered_from_zero(self, num_episodes):
    environment = make_env(
      Lengths([3]), Lengths([1, 2]), Lengths([2]), Lengths([7]), Lengths([9])
    )
    rows = play(environment, num_episodes, [0, 1, 0, 0, 1], ('a', 'b'))
    for task in 'ab':
      episodes = [row['episode'] for row in rows if row['task'] == task]
      self.assertSameElements(episodes, range(num_episodes))
      self.assertLen(episodes, num_episodes)

  def test_rows_hold_raw_return_and_environment_frames(self):
    rows = play(make_env(Lengths([2, 3])), 3, [0])
    self.assertEqual(
      rows,
      [
        dict(
          task='a', episode=i, **{'return': r}, length=4 * int(r), protocol='p'
        )
        for i, r in enumerate([2.0, 3.0, 2.0])
      ],
    )

  def test_what_the_agent_sees(self):
    act = Recorder()
    play(make_env(Lengths([2]), Lengths([3])), 2, [0, 0], act=act)
    actions, env_outputs, states, seeds = zip(*act.calls, strict=True)
    self.assertAllEqual(
      [e.done for e in env_outputs],
      [[True, True], [False, False], [True, False]],
    )
    self.assertAllEqual(
      [e.reward for e in env_outputs], [[0, 0], [1, 1], [1, 1]]
    )
    # On done the frame is the next episode's first.
    self.assertAllEqual(
      [e.observation.frame[:, 0, 0, 0] for e in env_outputs],
      [[0, 0], [1, 1], [0, 2]],
    )
    # Neither the last action nor the core state is cleared here.
    self.assertAllEqual(actions, [[0, 0], [1, 1], [2, 2]])
    self.assertAllEqual([s for (s,) in states], [[0, 0], [1, 1], [2, 2]])
    self.assertAllEqual(seeds, [[5, 0], [5, 1], [5, 2]])
    dtypes = [actions[0].dtype, seeds[0].dtype, env_outputs[0].reward.dtype]
    self.assertEqual(dtypes, [tf.int32, tf.int32, tf.float32])
    self.assertEqual(env_outputs[0].info, ())

  def assertAllEqual(self, got, expected):
    np.testing.assert_array_equal(np.array(got), expected)

  def test_lost_lives_end_nothing(self):
    act = Recorder()
    rows = play(Lives(), 2, [0], act=act)
    self.assertEqual([row['return'] for row in rows], [3.0, 3.0])
    dones = [bool(call[1].done[0]) for call in act.calls]
    self.assertEqual(dones, [True, False, False, True, False, False])

  def test_episodes_without_no_ops_are_played_again(self):
    environment = make_env(
      Lengths([2, 3, 4, 5], num_noops=[0, 7, 0, 1]),
      Lengths([6, 7], num_noops=[1, 0]),
    )
    rows = play(environment, 3, [0, 0], require_noops=True)
    rows.sort(key=lambda row: row['episode'])
    self.assertEqual([row['return'] for row in rows], [3.0, 5.0, 6.0])

  def test_no_ops_that_cannot_be_told_are_an_error(self):
    with self.assertRaisesRegex(ValueError, 'no-ops cannot be told'):
      play(catch.make_vector_env(2, False), 2, [0, 0], require_noops=True)

  def test_task_without_a_row_is_named(self):
    with self.assertRaisesRegex(ValueError, 'b has no environment'):
      play(make_env(Lengths([2])), 1, [0], ('a', 'b'))

  def test_seed_fixes_the_episodes(self):
    def returns(seed):
      rows = episodes.play_episodes(
        catch.make_vector_env(4, False),
        policy_of(
          lambda last, env, state, seed: (
            AgentOutput(tf.ones_like(last), None),
            state,
          )
        ),
        40,
        np.zeros(4, int),
        ['catch'],
        'p',
        seed,
        1,
      )
      return [row['return'] for row in rows]

    self.assertEqual(returns(1), returns(1))
    self.assertNotEqual(returns(1), returns(2))

  def test_whole_games_of_pong(self):
    protocol = AtariProtocol(noop_max=1, max_frames_per_episode=48)
    environment = TaskEnvironments(
      PlayedAs(['pong'], protocol), np.zeros(2, int), is_training=False
    )
    act = Recorder(num_actions=6)
    rows = play(environment, 4, [0, 0], ('pong',), require_noops=True, act=act)
    environment.close()
    self.assertEqual([row['length'] for row in rows], [48] * 4)
    # Some of the games began with 0 no-ops: seed 5 draws them.
    self.assertGreater(len(act.calls), 2 * 12)
    self.assertEqual(len(act.calls) % 12, 0)


class PlayGameTest(absltest.TestCase):
  def test_yields_the_reset_and_every_step(self):
    act = Recorder()
    policy = policy_of(act)
    steps = list(episodes.play_game(Lengths([3]), policy, seed=9))
    self.assertEqual(
      steps, [(0.0, False), (1.0, False), (1.0, False), (1.0, True)]
    )
    self.assertEqual(
      [bool(call[1].done[0]) for call in act.calls], [True, False, False]
    )
    self.assertEqual(
      [float(call[1].reward[0]) for call in act.calls], [0.0, 1.0, 1.0]
    )
    self.assertEqual([int(call[0][0]) for call in act.calls], [0, 1, 2])
    self.assertEqual([list(call[3].numpy()) for call in act.calls][2], [9, 2])


class ContinuousTest(absltest.TestCase):
  """Actions are vectors, and observations features."""

  def setUp(self):
    super().setUp()
    self.calls = []

    def act(last_action, env_output, core_state, seed):
      self.calls.append((last_action.numpy(), env_output))
      features = env_output.observation.features
      action = features[:, 4:] - features[:, :2]  # Towards the goal.
      return AgentOutput(action, action), core_state

    self.policy = Policy(
      act, lambda n: (), lambda n: np.zeros([n, 2], np.float32)
    )

  def check_calls(self, num_rows):
    previous = np.zeros([num_rows, 2], np.float32)
    for last_action, env_output in self.calls:
      np.testing.assert_array_equal(last_action, previous)
      frame, instruction, features = env_output.observation
      self.assertEqual((frame, instruction), ((), ()))
      self.assertEqual(features.shape, [num_rows, 6])
      previous = (features[:, 4:] - features[:, :2]).numpy()

  def test_episodes(self):
    rows = episodes.play_episodes(
      point_mass.make_vector_env(2, 3),
      self.policy,
      num_episodes_per_task=4,
      task_of_row=np.zeros(3, int),
      task_names=['a'],
      protocol='p',
      seed=5,
      num_action_repeats=1,
    )
    self.assertEqual([row['length'] for row in rows], [100] * 4)
    self.check_calls(3)

  def test_game(self):
    env = point_mass.PointMass(2)
    steps = list(episodes.play_game(env, self.policy, seed=9))
    self.assertLen(steps, 101)
    self.check_calls(1)


class Succeeding(gymnasium.vector.VectorEnv):
  """Episodes of three steps; tells which of its two rows succeed in a step."""

  def __init__(self, successes):
    self.num_envs = 2
    self._successes = successes

  def reset(self, *, seed=None, options=None):
    self._step = 0
    return np.zeros([2, 1], np.float32), {}

  def step(self, actions):
    success = np.float32(self._successes[self._step])
    self._step += 1
    done = np.full(2, self._step % 3 == 0)
    infos = {'episode_done': done, 'success': success}
    return np.zeros([2, 1], np.float32), np.ones(2), done, ~done & False, infos


class SuccessTest(absltest.TestCase):
  def test_a_step_of_an_episode_is_enough(self):
    nan = np.nan
    successes = [[0, nan], [1, nan], [0, nan], *[[0, nan]] * 3, [1, nan]]
    successes += [[1, nan], [1, nan]]

    def act(last_action, env_output, core_state, seed):
      return AgentOutput(last_action, last_action), core_state

    rows = episodes.play_episodes(
      Succeeding(successes),
      Policy(act, lambda n: (), lambda n: np.zeros([n, 1], np.float32)),
      num_episodes_per_task=3,
      task_of_row=np.array([0, 1]),
      task_names=['can', 'cannot'],
      protocol='p',
      seed=0,
      num_action_repeats=1,
    )
    found = collections.defaultdict(list)
    for row in rows:
      found[row['task']].append(row.get('success'))
    self.assertEqual(found, {'can': [1, 0, 1], 'cannot': [None] * 3})


class PolicyOfTest(absltest.TestCase):
  def test_acts_in_one_task(self):
    calls = []

    class Agent:
      env_spec = EnvSpec(
        task_names=('a', 'b'),
        num_features=3,
        action_box=ActionBox((-1.0,) * 2, (1.0,) * 2),
      )

      def initial_state(self, num_rows):
        return (tf.ones([num_rows, 4]),)

      def act(self, *inputs):
        calls.append(inputs)
        return 'output', 'state'

    policy = episodes.policy_of(Agent(), 1)
    last_action = policy.zero_actions(3)
    self.assertEqual((last_action.shape, last_action.dtype), ((3, 2), 'f4'))
    (state,) = policy.initial_state(3)
    self.assertEqual(state.shape, [3, 4])
    found = policy.act(last_action, 'env_output', 'core_state', 'seed')
    self.assertEqual(found, ('output', 'state'))
    ((task_id, *others),) = calls
    self.assertEqual(task_id.numpy().tolist(), [1, 1, 1])
    self.assertEqual(task_id.dtype, tf.int32)
    self.assertIs(others[0], last_action)
    self.assertEqual(others[1:], ['env_output', 'core_state', 'seed'])

  def test_an_agent_plays(self):
    config = runs.tiny_config()
    policy = episodes.policy_of(runs.make_agent(config), 0)
    rows = episodes.play_episodes(
      catch.make_vector_env(2, False), policy, 2, [0, 0], ['catch'], 'p', 5, 1
    )
    self.assertEqual([row['length'] for row in rows], [9, 9])


if __name__ == '__main__':
  absltest.main()

"""The replay of frames against lists of whole observations, and on real games.

The lists hold what was seen; stacks and returns are put together by loops.
"""

import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from core.experience import frame_replay
from core.experience.batches import Batches
from core.experience.frame_replay import FrameReplay
from core.experience.player import Player
from core.experience.timing import Timer
from core.run_config import ReplayConfig
from core.suites.atari import AtariProtocol
from core.types import EnvSpec, FrameTransitions
from tests.tasks import PlayedAs

NUM_TASKS, N_STEP, CAPACITY = 2, 3, 9
STACKED = EnvSpec(
  ('a', 'b'), num_actions=5, frame_shape=(3, 2, 2), channels_first=True
)
WHOLE = STACKED._replace(frame_shape=(2, 2, 3), channels_first=False)


class Games:
  """Plays games of random frames, and remembers every step of every task."""

  def __init__(self, spec, rng):
    self.spec, self.rng = spec, rng
    self.steps = []
    self.begin()

  def draw(self):
    """Returns a frame, or what a stack gets, for every task."""
    shape = self.spec.frame_shape[1 if self.spec.channels_first else 0 :]
    return self.rng.integers(1, 256, size=(NUM_TASKS, *shape), dtype=np.uint8)

  def begin(self):
    """Begins a game of every task: stacks hold zeros but for the newest."""
    self.seen = np.zeros([NUM_TASKS, *self.spec.frame_shape], np.uint8)
    self.seen = self.push(self.seen)

  def push(self, seen):
    if not self.spec.channels_first:
      return self.draw()
    return np.concatenate([seen[:, 1:], self.draw()[:, None]], axis=1)

  def play(self, replay):
    """Makes a step; ends are lost lives, ends of games, or both at once."""
    rng, seen = self.rng, self.seen
    ends_game = rng.random(NUM_TASKS) < 0.15
    is_truncated = ends_game & (rng.random(NUM_TASKS) < 0.5)
    is_last = ends_game | (rng.random(NUM_TASKS) < 0.15)
    action = rng.integers(5, size=NUM_TASKS).astype(np.int32)
    reward = np.float32(rng.normal(size=NUM_TASKS))
    last = self.push(seen)
    self.begin()
    for task in np.flatnonzero(~ends_game):
      self.seen[task] = last[task]
    # What led nowhere is read nowhere: it may be anything.
    told = np.where(np.reshape(is_truncated, (-1, 1, 1, 1)), last, 77)
    goes_on = ~is_last | is_truncated
    replay.add(seen, action, reward, told, goes_on, is_last, ends_game)
    self.steps.append([seen, action, reward, last, goes_on, is_last])

  def cut_off(self, replay):
    """Ends all games as if they were truncated."""
    replay.cut_off(self.seen)
    if self.steps:
      *_, last, goes_on, is_last = self.steps[-1]
      last[~is_last] = self.seen[~is_last]
      goes_on[~is_last] = True
      is_last[:] = True
    self.begin()

  def transition(self, task, index):
    """Returns what a gathered row must be."""
    seen, action, *_ = (part[task] for part in self.steps[index])
    rewards = np.zeros(N_STEP, np.float32)
    for k in range(N_STEP):
      *_, reward, last, goes_on, is_last = (
        part[task] for part in self.steps[index + k]
      )
      rewards[k] = reward
      if is_last:
        return seen, action, rewards, last, k + 1, float(goes_on)
    following = self.steps[index + N_STEP][0][task]
    return seen, action, rewards, following, N_STEP, 1.0


class RandomOperationsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('stacked', STACKED, False),
    ('stacked_in_files', STACKED, True),
    ('whole', WHOLE, False),
  )
  def test_equals_a_list(self, spec, is_mapped):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    rng, spare = np.random.default_rng(0), 2 if is_mapped else 0

    def make():
      where = folder if is_mapped else None
      return FrameReplay(spec, CAPACITY, N_STEP, where, spare)

    replay, games = make(), Games(spec, rng)
    kinds = set()
    for _ in range(300):
      operation = rng.random()
      if operation < 0.65:
        games.play(replay)
      elif operation < 0.7:
        state = {n: np.array(x) for n, x in replay.get_state().items()}
        for _ in range(spare):  # What is lost with a kill.
          Games(spec, rng).play(replay)
        replay = make()
        replay.set_state(state)
      elif operation < 0.73:
        games.cut_off(replay)
      elif replay.count:
        kinds |= self._compare(rng, replay, games)
    self.assertGreater(replay.count, 10 * CAPACITY)
    # Of every length, terminated and truncated, and whole.
    expected = {(m, g) for m in (1, 2, 3) for g in (0.0, 1.0)}
    self.assertEqual(kinds, expected)

  def _compare(self, rng, replay, games):
    self.assertEqual(replay.count, max(0, len(games.steps) - N_STEP))
    self.assertEqual(replay.size, min(CAPACITY, replay.count))
    task_id = rng.integers(NUM_TASKS, size=20)
    index = rng.integers(replay.count - replay.size, replay.count, size=20)
    found, kinds = replay.gather(task_id, index), set()
    for k in range(20):
      ours = [part[k] for part in found[1:]]
      theirs = games.transition(task_id[k], index[k])
      for name, a, b in zip(found._fields[1:], ours, theirs, strict=True):
        if name != 'next_frame' or found.goes_on[k]:
          np.testing.assert_array_equal(a, b, name)
      kinds.add((int(found.num_steps[k]), float(found.goes_on[k])))
    dtypes = [part.dtype.name for part in found]
    self.assertEqual(
      dtypes,
      ['int32', 'uint8', 'int32', 'float32', 'uint8', 'int32', 'float32'],
    )
    return kinds

  def test_prepared_batches_equal_those_drawn_at_once(self):
    rng = np.random.default_rng(1)
    replay, games = FrameReplay(STACKED, CAPACITY, N_STEP), Games(STACKED, rng)
    prepared, direct = (Batches(replay, 2, 60, seed=3) for _ in range(2))
    self.addCleanup(prepared.close)
    self.addCleanup(direct.close)
    for _ in range(N_STEP):
      games.play(replay)
    for step in range(1, 3 * CAPACITY):
      games.play(replay)
      ours, theirs = prepared.take(step), direct.take(step)
      self.assertIsInstance(ours, FrameTransitions)
      self.assertEqual(ours.rewards.shape, (2, 60, N_STEP))
      for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
      prepared.prepare(step + 1)


class SizeTest(absltest.TestCase):
  def test_a_frame_is_stored_once(self):
    spec = STACKED._replace(frame_shape=(4, 84, 84))
    shapes = frame_replay.array_shapes(spec, 100, 3)
    self.assertEqual(shapes['frame'], ((2, 107, 84, 84), np.uint8))
    folder = self.enter_context(tempfile.TemporaryDirectory())
    replay = frame_replay.make_replay(spec, 100, 3, 1.0, folder)
    self.assertFalse(replay.is_mapped)
    replay = frame_replay.make_replay(spec, 100, 3, 1e-4, folder)
    self.assertEqual((replay.is_mapped, replay.spare), (True, 11))
    with self.assertRaisesRegex(UserError, 'bytes, the disk of'):
      frame_replay.make_replay(spec, 10**12, 3, 1.0, folder)


class Agent:
  """Plays at random, and remembers what it saw."""

  n_step = N_STEP

  def __init__(self, env_spec):
    self.env_spec = env_spec
    self.seen, self.actions, self.told = [], [], []

  def explore(self, task_id, frames, seed):
    rng = np.random.default_rng(seed)
    self.seen.append(frames.copy())
    self.actions.append(rng.integers(18, size=len(task_id), dtype=np.int32))
    return self.actions[-1]

  def observe(self, *step):
    self.told.append(step)

  def get_state(self):
    return {}

  def set_state(self, state):
    del state

  def begin_episodes(self):
    self.told.append('anew')


class AtariTest(absltest.TestCase):
  def test_real_games(self):
    # Lives are lost, games are truncated; a resumed run begins new ones.
    protocol = AtariProtocol(
      full_action_space=True, max_frames_per_episode=240, noop_max=0
    )
    tasks = PlayedAs(('breakout', 'pong'), protocol)
    config = ReplayConfig(
      logdir=self.create_tempdir().full_path,
      replay_capacity=500,
      warm_up_steps=1,
    )
    agent = Agent(tasks.env_spec)
    player = Player(config, agent, tasks, Timer(), {})
    self.addCleanup(player.close)
    episodes = [e for _ in range(170) for e in player.step()]
    self.assertEqual({e.task_name for e in episodes}, {'breakout', 'pong'})
    # Whole games, though lives were lost in them.
    self.assertEqual({e.episode_length for e in episodes}, {240})
    lives = sum(step[2][0] for step in agent.told)
    self.assertGreater(lives, len(episodes))
    count = player.replay.count
    self.assertEqual(count, 170 - N_STEP)
    index = np.tile(np.arange(count), 2)
    found = player.replay.gather(np.repeat([0, 1], count), index)
    for k, i in enumerate(index):
      task, m = found.task_id[k], found.num_steps[k]
      np.testing.assert_array_equal(found.frame[k], agent.seen[i][task])
      self.assertEqual(found.action[k], agent.actions[i][task])
      _, _, terminated, truncated, last = agent.told[i + m - 1]
      ends = [
        bool(agent.told[i + j][2][task] | agent.told[i + j][3][task])
        for j in range(m)
      ]
      self.assertEqual(ends[:-1], [False] * (m - 1))
      self.assertTrue(ends[-1] or m == N_STEP)
      self.assertEqual(
        found.goes_on[k], 1.0 - (terminated[task] & ~truncated[task])
      )
      if truncated[task]:
        np.testing.assert_array_equal(found.next_frame[k], last[task])
      elif found.goes_on[k]:
        seen = agent.seen[i + m][task]
        np.testing.assert_array_equal(found.next_frame[k], seen)
        self.assertTrue(np.array_equal(last[task], seen))
    self._resume(config, tasks, player, agent)

  def _resume(self, config, tasks, player, agent):
    state = player.get_state()
    self.assertIsNone(state['environments'])
    arrays = {
      f'source/{name}': value
      for name, value in state['arrays'].items()
      if name not in ('agent', 'replay')
    } | {f'source/replay/{n}': x for n, x in state['arrays']['replay'].items()}
    seen = arrays['source/frame']
    metadata = {'source': state, 'arrays': arrays}
    resumed = Player(config, agent, tasks, Timer(), metadata)
    self.addCleanup(resumed.close)
    self.assertEqual(agent.told[-1], 'anew')
    for _ in range(N_STEP + 1):
      resumed.step()
    # The step that was played last leads to what was seen when it was saved.
    found = resumed.replay.gather(np.array([0, 1]), np.array([169, 169]))
    np.testing.assert_array_equal(found.num_steps, [1, 1])
    np.testing.assert_array_equal(found.next_frame, seen)
    found = resumed.replay.gather(np.array([0, 1]), np.array([170, 170]))
    self.assertEqual(found.frame[:, :-1].max(), 0)
    np.testing.assert_array_equal(found.frame, agent.seen[170])


if __name__ == '__main__':
  absltest.main()

"""Tests of core/environments/workers.py."""

import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
from absl.testing import absltest, parameterized
from gymnasium.vector import AutoresetMode

from core.environments.point_mass import PointMass, make_vector_env
from core.environments.workers import WorkerVectorEnv
from core.errors import EnvironmentFailure, UserError

ROOT = pathlib.Path(__file__).resolve().parents[3]

# A user's script: builds environments, prints their processes' ids, how many of
# them ran its own import and how many began with Ctrl-C blocked, and waits.
SCRIPT = """
import time, wave
from core.environments.workers import WorkerVectorEnv
from tests.core.environments.workers_test import ProcessEnv
env = WorkerVectorEnv([ProcessEnv] * 3, 2)
observations, _ = env.reset(seed=0)
print(*[process.pid for process in env.processes], flush=True)
print(observations.sum(axis=0)[[1, 3]].tolist(), flush=True)
time.sleep(60)
"""


class ProcessEnv(gymnasium.Env):
  """Observes its process: id, whether it ran the script, calls, signals."""

  observation_space = gymnasium.spaces.Box(0, np.inf, (4,), np.float32)
  action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

  def __init__(self):
    self._num_calls = 0

  def reset(self, *, seed=None, options=None):
    return self._observe(), {}

  def step(self, action):
    if action[0] < 0:
      raise ArithmeticError('too little')
    if action[0] == 0:
      raise UserError('give more')
    return self._observe(), 1.5, False, False, {}

  def _observe(self):
    self._num_calls += 1
    is_script = not sys.modules.keys().isdisjoint(('wave', 'tensorflow'))
    is_blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return np.float32([os.getpid(), is_script, self._num_calls, is_blocked])


class SuccessEnv(ProcessEnv):
  """Succeeds where the action is 1."""

  def step(self, action):
    *outputs, _ = super().step(action)
    return *outputs, {'success': action[0] == 1.0}


class BrokenEnv(gymnasium.Env):
  """Cannot be built."""

  def __init__(self, error):
    raise error


def is_alive(pid):
  """Tells whether a process runs."""
  with contextlib.suppress(FileNotFoundError):
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return stat.rpartition(')')[2].split()[0] not in 'XZ'
  return False


def wait_until_dead(pids):
  deadline = time.monotonic() + 20.0
  while any(map(is_alive, pids)):
    if time.monotonic() > deadline:
      raise TimeoutError(pids)
    time.sleep(0.02)


class WorkerVectorEnvTest(parameterized.TestCase):
  def make(self, env_fns, num_workers):
    env = WorkerVectorEnv(env_fns, num_workers)
    self.addCleanup(env.close)
    return env

  def test_equals_environments_in_this_process(self):
    # Five rows on two processes, over the ends of episodes.
    env = self.make([functools.partial(PointMass, 2)] * 5, 2)
    plain = make_vector_env(2, 5)
    self.assertLen(env.processes, 2)
    self.assertEqual(env.metadata['autoreset_mode'], AutoresetMode.SAME_STEP)
    self.assertEqual(env.observation_space, plain.observation_space)
    self.assertEqual(env.action_space, plain.action_space)
    self.assertEqual(env.single_action_space, plain.single_action_space)
    rng, num_ends = np.random.default_rng(0), 0
    found, infos = env.reset(seed=3)
    expected, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(found, expected)
    self.assertEqual(infos, {})
    for _ in range(210):
      actions = rng.uniform(-1, 1, [5, 2]).astype(np.float32)
      outputs, others = env.step(actions), plain.step(actions)
      for a, b in zip(outputs[:4], others[:4], strict=True):
        np.testing.assert_array_equal(a, b)
        self.assertEqual(a.dtype, b.dtype)
      self.assertEqual(
        outputs[4].keys(), others[4].keys() - {'final_info', '_final_info'}
      )
      if 'final_obs' in outputs[4]:
        ours, theirs = outputs[4]['final_obs'], others[4]['final_obs']
        np.testing.assert_array_equal(np.stack(ours), np.stack(theirs))
        num_ends += outputs[4]['_final_obs'].sum()
    self.assertEqual(num_ends, 2 * 5)
    state = env.get_state()
    self.assertEqual(state, [row.get_state() for row in plain.envs])
    outputs = env.step(actions)
    env.reset(seed=9)
    env.set_state(state)
    for a, b in zip(env.step(actions)[:4], outputs[:4], strict=True):
      np.testing.assert_array_equal(a, b)

  def test_vectors_of_different_lengths_are_padded(self):
    sizes = (1, 3, 2)
    env = self.make([functools.partial(PointMass, n) for n in sizes], 2)
    self.assertEqual(
      env.single_observation_space, PointMass(3).observation_space
    )
    self.assertEqual(env.action_space.shape, (3, 3))
    singles = [PointMass(n) for n in sizes]
    observations, _ = env.reset(seed=5)
    self.assertEqual(
      (observations.shape, observations.dtype), ((3, 9), np.float32)
    )
    for row, single in enumerate(singles):
      features, _ = single.reset(seed=5 + row)
      np.testing.assert_array_equal(
        observations[row, : features.size], features
      )
      self.assertFalse(observations[row, features.size :].any())
    rng = np.random.default_rng(0)
    for _ in range(110):
      actions = rng.uniform(-1, 1, [3, 3]).astype(np.float32)
      observations, rewards, _, truncated, infos = env.step(actions)
      self.assertNotIn('success', infos)
      for row, single in enumerate(singles):
        features, reward, _, is_last, _ = single.step(
          actions[row, : sizes[row]]
        )
        if is_last:
          features, _ = single.reset()
        found = observations[row]
        np.testing.assert_array_equal(found[: features.size], features)
        self.assertFalse(found[features.size :].any())
        self.assertEqual((rewards[row], truncated[row]), (reward, is_last))

  def test_success_of_those_that_tell_it(self):
    env = self.make([SuccessEnv, SuccessEnv, ProcessEnv], 2)
    env.reset(seed=0)
    actions = np.float32([[1.0], [0.5], [1.0]])
    for _ in range(2):
      *_, infos = env.step(actions)
      np.testing.assert_array_equal(
        infos['success'], np.float32([1, 0, np.nan])
      )
      self.assertEqual(infos['success'].dtype, np.float32)
    self.assertIsNone(env.get_state())  # None of them can say it.

  def test_rows_share_processes(self):
    env = self.make([ProcessEnv] * 5, 2)
    observations, _ = env.reset(seed=0)
    pids = [process.pid for process in env.processes]
    self.assertEqual(observations[:, 0].tolist(), [pids[0]] * 2 + [pids[1]] * 3)
    self.assertEqual(observations[:, 1].tolist(), [0.0] * 5)
    # An observation is not written to again.
    kept = observations.copy()
    env.step(np.ones([5, 1], np.float32))
    np.testing.assert_array_equal(observations, kept)

  def test_more_workers_than_environments(self):
    self.assertLen(self.make([ProcessEnv] * 2, 16).processes, 2)

  @parameterized.named_parameters(
    (
      'other',
      -1.0,
      EnvironmentFailure,
      r'(?s)^a process failed:\nTraceback.*ArithmeticError: too little$',
    ),
    ('user', 0.0, UserError, '^give more$'),
  )
  def test_failure_of_an_environment(self, action, kind, message):
    env = self.make([ProcessEnv] * 2, 2)
    env.reset(seed=0)
    with self.assertRaisesRegex(kind, message):
      env.step(np.float32([[1.0], [action]]))
    env.close()
    self.assertFalse(any(is_alive(p.pid) for p in env.processes))

  @parameterized.named_parameters(
    ('user', UserError('install it'), UserError, '^install it$'),
    ('other', KeyError('gone'), EnvironmentFailure, "KeyError: 'gone'$"),
  )
  def test_environment_that_cannot_be_built(self, error, kind, message):
    with self.assertRaisesRegex(kind, message):
      WorkerVectorEnv([ProcessEnv, functools.partial(BrokenEnv, error)], 2)

  def test_killed_process_shows(self):
    env = self.make([ProcessEnv] * 2, 2)
    env.reset(seed=0)
    env.processes[1].kill()
    env.processes[1].join()
    with self.assertRaises((EOFError, ConnectionError)):
      for _ in range(2):
        env.step(np.ones([2, 1], np.float32))

  def test_close_ends_the_processes(self):
    env = self.make([ProcessEnv] * 2, 2)
    self.assertTrue(all(is_alive(p.pid) for p in env.processes))
    env.close()
    self.assertEqual([p.exitcode for p in env.processes], [0, 0])

  @parameterized.named_parameters(
    ('killed', signal.SIGKILL), ('interrupted', signal.SIGINT)
  )
  def test_parent_that_ends_takes_them_along(self, number):
    script = self.create_tempfile(content=SCRIPT)
    with subprocess.Popen(
      [sys.executable, script.full_path],
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    ) as parent:
      pids = list(map(int, parent.stdout.readline().split()))
      self.assertLen(pids, 2)
      self.assertEqual(parent.stdout.readline(), '[0.0, 3.0]\n')
      if number == signal.SIGINT:  # As a terminal sends it.
        for pid in pids:
          os.kill(pid, number)
        time.sleep(0.3)
        self.assertTrue(all(map(is_alive, pids)))
      parent.send_signal(number)
      wait_until_dead(pids)
      # Nothing but the parent's own traceback.
      self.assertEqual(
        parent.stderr.read().count('Traceback'), int(number == signal.SIGINT)
      )


if __name__ == '__main__':
  absltest.main()

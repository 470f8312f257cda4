"""Tests of core/environments/doom/processes.py: processes, engines, kills."""

import glob
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom import engine, pictures
from core.environments.doom.env import DoomProtocol
from core.environments.doom.processes import DoomVectorEnv
from core.errors import UserError
from core.instructions import hash_words
from tests.core.environments.workers_test import wait_until_dead
from tests.doom import engines_of, needs_wheels, plain_textures

ROOT = pathlib.Path(__file__).resolve().parents[4]

# Prints the ids of its processes, that have one and two engines, and waits.
SCRIPT = """
import time
from unittest import mock
from core.environments.doom import pictures, processes
from core.environments.doom.env import DoomProtocol
from tests.doom import plain_textures
with mock.patch.object(pictures, 'textures', plain_textures):
  env = processes.DoomVectorEnv(
    ['mazes_0', 'nav_goal', 'lasertag_one_small'], DoomProtocol(), 2)
print(*[process.pid for process in env.processes], flush=True)
time.sleep(60)
"""


@needs_wheels
class DoomVectorEnvTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    patch = mock.patch.object(pictures, 'textures', plain_textures)
    self.enter_context(patch)

  def test_rows_share_processes_and_show_what_they_say(self):
    protocol = DoomProtocol(width=64, height=48, action_set='popart')
    tasks = ['language_select', 'mazes_1', 'memory_cue']
    env = DoomVectorEnv(tasks, protocol, 2)
    self.addCleanup(env.close)
    self.assertLen(env.processes, 2)
    engines = [engines_of(process.pid) for process in env.processes]
    self.assertEqual(list(map(len, engines)), [1, 2])
    observations, _ = env.reset(seed=5)
    frames, words = observations['frame'], observations['instruction']
    self.assertEqual((frames.shape, frames.dtype), ((3, 48, 64, 3), np.uint8))
    self.assertEqual((words.shape, words.dtype), ((3, 16), np.int32))
    self.assertFalse(words[1:].any())
    told = hash_words('collect the', 16)
    self.assertEqual(words[0][:2].tolist(), list(told)[:2])
    self.assertGreater(words[0][3], 0)
    self.assertEqual(env.action_space.nvec.tolist(), [15] * 3)
    following, rewards, *_ = env.step(np.array([0, 6, 10]))
    changed = (following['frame'] != frames).any(axis=(1, 2, 3))
    self.assertTrue(changed.all())
    self.assertEqual(rewards.shape, (3,))
    state = env.get_state()
    later = [env.step(np.array([i, 0, 7]))[0]['frame'] for i in range(5)]
    env.reset(seed=6)
    env.set_state(state)
    for i, frame in enumerate(later):
      again = env.step(np.array([i, 0, 7]))[0]['frame']
      np.testing.assert_array_equal(again, frame)
    env.close()
    wait_until_dead([pid for pids in engines for pid in pids])
    self.assertEqual([p.exitcode for p in env.processes], [0, 0])

  def test_killed_process(self):
    env = DoomVectorEnv(['mazes_0', 'mazes_1'], DoomProtocol(), 2)
    self.addCleanup(env.close)
    env.reset(seed=0)
    engines = engines_of(env.processes[1].pid)
    self.assertLen(engines, 1)
    env.processes[1].kill()
    with self.assertRaisesRegex(
      UserError,
      '^the process that plays doom:mazes_1 ended: killed by SIGKILL$',
    ):
      for _ in range(2):
        env.step(np.zeros(2, int))
    wait_until_dead(engines)

  def test_engine_that_takes_its_process_along(self):
    # It ends of a definition that it cannot read, and vizdoom with it.
    wrong = (('TX_END', b''), ('DECORATE', b'actor A : Nothing\n{\n}\n'))
    broken = (*plain_textures(), *wrong, ('TX_START', b''))
    folder = self.create_tempdir().full_path
    with (
      mock.patch.dict(os.environ, TMPDIR=folder),
      mock.patch.object(tempfile, 'tempdir', folder),
      mock.patch.object(engine, '_forget', wraps=engine._forget) as forget,
      mock.patch.object(pictures, 'textures', lambda: broken),
      self.assertRaisesRegex(
        UserError, '^the process that plays doom:mazes_0 ended: killed by SIG'
      ) as caught,
    ):
      DoomVectorEnv(['mazes_0'], DoomProtocol(), 1)
    self.assertNotIn('\n', str(caught.exception))
    # What it left behind is gone.
    self.assertEmpty(os.listdir(folder))
    ((instance,), _) = forget.call_args
    self.assertLen(instance, 10)
    self.assertEmpty(glob.glob(f'/dev/shm/ViZDoom*{instance}'))

  @parameterized.named_parameters(
    ('killed', signal.SIGKILL, False),
    ('killed_while_engines_hang', signal.SIGKILL, True),
    ('terminated', signal.SIGTERM, False),
  )
  def test_parent_that_ends_takes_all_along(self, number, hangs):
    script = self.create_tempfile(content=SCRIPT)
    folder = self.create_tempdir().full_path
    with subprocess.Popen(
      [sys.executable, script.full_path],
      env={**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': folder},
      stdout=subprocess.PIPE,
      text=True,
      start_new_session=True,
    ) as parent:
      pids = list(map(int, parent.stdout.readline().split()))
      self.assertLen(pids, 2)
      engines = [engine for pid in pids for engine in engines_of(pid)]
      self.assertLen(engines, 3)
      if hangs:
        for engine in engines:
          os.kill(engine, signal.SIGSTOP)
      parent.send_signal(number)
      wait_until_dead(engines)
      wait_until_dead(pids)
    self.assertEmpty(os.listdir(folder))


if __name__ == '__main__':
  absltest.main()

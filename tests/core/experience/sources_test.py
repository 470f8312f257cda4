"""Tests of core/experience/sources.py."""

import collections
import contextlib
import dataclasses
import io
import json
import re
import tempfile
import threading
import time
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core import checkpointing
from core.errors import UserError
from core.experience import sources
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.task_environments import TaskEnvironments
from core.suites.tasks import Tasks
from tests import runs

MODULE_NAME = 'tests.user_environments'


def make_source(config, agent, resume=None):
  tasks = Tasks.of(config)
  return sources.make_source(config, agent, tasks, Timer(), resume or {})


def frames_of(batch):
  return batch.env_outputs.observation.frame


class SourceTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = runs.tiny_config()
    cls.agent = runs.make_agent(cls.config)

  def make(self, resume=None, **changes):
    config = dataclasses.replace(self.config, **changes)
    source = make_source(config, self.agent, resume)
    self.addCleanup(source.close)
    return source

  @parameterized.named_parameters(
    ('sync', 'sync', 1, 4),
    ('sync_uneven', 'sync', 1, 3),
    ('async', 'async', 2, 3),
  )
  def test_batches(self, actor_mode, num_actors, num_environments):
    source = self.make(
      actor_mode=actor_mode,
      num_actors=num_actors,
      num_environments=num_environments,
    )
    for version in range(6):
      batch = source.next_batch(version, Interrupt())
      self.assertEqual(frames_of(batch).shape, (6, 4, 20, 20, 1))
      self.assertEqual(batch.task_id.shape, (4,))
      self.assertLessEqual(batch.policy_version.max(), version)

  def test_sync_policy_is_the_newest(self):
    source = self.make()
    for version in range(5):
      batch = source.next_batch(version, Interrupt())
      np.testing.assert_array_equal(batch.policy_version, [version] * 4)

  @parameterized.parameters((16, 2), (6, 4), (8, 4), (3, 4))
  def test_sync_lag(self, num_environments, batch_size):
    source = self.make(
      num_environments=num_environments, batch_size=batch_size, num_groups=1
    )
    lags = []
    for version in range(40):
      batch = source.next_batch(version, Interrupt())
      lags += [*(version - batch.policy_version)]
    self.assertEqual(max(lags), 1)

  @parameterized.product(learner_secs=(0.0, 0.05), max_policy_lag=(2, 3))
  def test_async_lag(self, learner_secs, max_policy_lag):
    source = self.make(
      actor_mode='async',
      num_environments=32,
      batch_size=2,
      max_policy_lag=max_policy_lag,
    )
    lags = []
    for version in range(40):
      batch = source.next_batch(version, Interrupt())
      lags += [*(version - batch.policy_version)]
      time.sleep(learner_secs)
    # Groups may end in another order than that in which they began.
    self.assertLess(np.mean(lags), max_policy_lag + 0.5)
    if learner_secs:
      self.assertGreater(np.mean(lags), max_policy_lag - 0.5)

  @parameterized.parameters('sync', 'async')
  def test_groups_play_in_turn(self, actor_mode):
    source = self.make(actor_mode=actor_mode, num_environments=16, batch_size=2)
    actors = [source._actor] if actor_mode == 'sync' else source._actors
    plays = collections.Counter()
    for group in actors[0].groups:
      collect = group.collect

      def counted(version, group=group, collect=collect):
        plays[group] += 1
        return collect(version)

      group.collect = counted
    for version in range(80):
      source.next_batch(version, Interrupt())
    self.assertLen(plays, 8)
    self.assertLess(max(plays.values()) - min(plays.values()), 5)

  @parameterized.parameters('sync', 'async')
  def test_says_what_lag_it_cannot_help(self, actor_mode):
    for num_environments, message in ((100, ''), (200, 'groups of 4 ')):
      printed = io.StringIO()
      with contextlib.redirect_stdout(printed):
        source = self.make(
          actor_mode=actor_mode,
          num_environments=num_environments,
          batch_size=1,
        )
      self.assertIn(message, printed.getvalue())
      self.assertEqual('warning' in printed.getvalue(), bool(message))
      source.next_batch(0, Interrupt())

  def test_async_queue_is_bounded(self):
    source = self.make(actor_mode='async', queue_capacity=1)
    source.next_batch(0, Interrupt())
    time.sleep(1.0)  # Time for many more batches than fit.
    lags = []
    for version in range(100, 104):
      batch = source.next_batch(version, Interrupt())
      lags.append(version - batch.policy_version.max())
    # One batch in the queue, one in the thread's hands, one begun before.
    self.assertGreater(lags[0], 50)
    self.assertLess(lags[-1], 50)

  def test_interrupt_ends_the_wait(self):
    source = self.make(
      actor_mode='async', level_name='catch', unroll_length=10**5
    )
    interrupt = Interrupt()
    threading.Timer(0.3, lambda: setattr(interrupt, 'requested', True)).start()
    start = time.monotonic()
    self.assertIsNone(source.next_batch(0, interrupt))
    self.assertLess(time.monotonic() - start, 2.0)

  def test_close_ends_the_threads(self):
    before = threading.active_count()
    source = self.make(actor_mode='async', num_actors=2)
    source.next_batch(0, Interrupt())
    self.assertGreater(threading.active_count(), before)
    source.close()
    self.assertEqual(threading.active_count(), before)

  @parameterized.parameters('sync', 'async')
  def test_a_failing_group_ends_the_others(self, actor_mode):
    step_wait = TaskEnvironments.step_wait
    failing, error = [], ArithmeticError('the ball is lost')

    def fail_in_one_group(environments):
      if not failing:
        failing.append(environments)
      if failing[0] is environments:
        raise error
      return step_wait(environments)

    num_threads, start = threading.active_count(), time.monotonic()
    with mock.patch.object(TaskEnvironments, 'step_wait', fail_in_one_group):
      source = self.make(actor_mode=actor_mode, unroll_length=10**5)
      with self.assertRaises((ArithmeticError, RuntimeError)) as caught:
        source.next_batch(0, Interrupt())
      source.close()
    self.assertIn(error, (caught.exception, caught.exception.__cause__))
    self.assertLess(time.monotonic() - start, 5.0)
    self.assertEqual(threading.active_count(), num_threads)

  def test_actors_play_different_games(self):
    config = dataclasses.replace(self.config, num_actors=3)
    tasks = Tasks.of(config)
    firsts = []
    for index, offset in ((0, 0), (1, 0), (0, 7), (0, 0)):
      actor = sources.make_actor(
        config, self.agent, tasks, Timer(), index, offset
      )
      self.addCleanup(actor.close)
      unrolls = [actor.collect(0) for _ in range(8)]
      firsts.append(
        np.concatenate([frames_of(u) for pair in unrolls for u in pair])
      )
    np.testing.assert_array_equal(firsts[0], firsts[3])
    for other in firsts[1:3]:
      self.assertTrue(np.any(firsts[0] != other))

  def test_resume_of_other_environments_begins_other_games(self):
    frames = []
    for resume in ({}, dict(num_updates=3, config=dict(actor_mode='async'))):
      source = self.make(resume)
      batches = [source.next_batch(0, Interrupt()) for _ in range(8)]
      frames.append(np.concatenate([frames_of(b) for b in batches]))
    self.assertTrue(np.any(frames[0] != frames[1]))

  @parameterized.named_parameters(
    (
      'groups',
      dict(num_groups=5),
      '--num_groups=5 exceeds --num_environments=4',
    ),
    ('sync_actors', dict(num_actors=2), 'sync has one actor, not 2'),
  )
  def test_user_errors(self, changes, message):
    with self.assertRaisesRegex(UserError, message):
      self.make(**changes)

  def test_more_tasks_than_environments(self):
    config = runs.tiny_config(
      level_name=f'catch,{MODULE_NAME}:make_catch',
      num_environments=1,
      num_groups=1,
    )
    with self.assertRaisesRegex(UserError, '2 tasks need at least as many'):
      make_source(config, runs.make_agent(config))


class UnfinishedTest(parameterized.TestCase):
  """What was built before the rest cannot be is closed."""

  @parameterized.named_parameters(
    ('second_group', 'sync', '__init__', 2),
    ('third_actor', 'async', '__init__', 5),
    ('reset', 'sync', 'reset', 2),
    ('reset_of_another_actor', 'async', 'reset', 4),
  )
  def test_closes_what_was_built(self, actor_mode, method, fails_at):
    config = runs.tiny_config(actor_mode=actor_mode)
    if actor_mode == 'async':
      config = dataclasses.replace(config, num_actors=3)
    agent, called = runs.make_agent(config), []
    original = getattr(TaskEnvironments, method)

    def fail_or_call(environments, *args, **kwargs):
      called.append(environments)
      if len(called) == fails_at:
        raise KeyboardInterrupt
      return original(environments, *args, **kwargs)

    num_threads = threading.active_count()
    with (
      mock.patch.object(TaskEnvironments, method, fail_or_call),
      self.assertRaises(KeyboardInterrupt),
    ):
      make_source(config, agent)
    self.assertLen(called, fails_at)
    if method == '__init__':
      called.pop()
    self.assertEqual({e.closed for e in called}, {True})
    self.assertEqual(threading.active_count(), num_threads)

  def test_without_a_saved_source_episodes_begin_anew(self):
    # As in the checkpoint that a population's member copied, and in a gang's.
    config = runs.tiny_config()
    agent = runs.make_agent(config)
    resume = dict(num_updates=1, config=dict(actor_mode='sync'), source={})
    source = make_source(config, agent, resume)
    self.addCleanup(source.close)
    new = make_source(config, agent)
    self.addCleanup(new.close)
    found, expected = (s.get_state()['unroll_widths'] for s in (source, new))
    self.assertEqual(found, expected)

  @parameterized.named_parameters(
    ('no_arrays', lambda s: s['arrays'].clear(), 'has no array'),
    ('no_list_at_all', lambda s: s.pop('environments'), "'environments'"),
    ('no_list', lambda s: s.update(environments=True), 'TypeError'),
    ('no_state', lambda s: s['environments'][0].pop(), 'ValueError'),
    (
      'not_on_the_board',
      lambda s: s['environments'][0][0].update(ball=[99, 0]),
      'IndexError',
    ),
    ('no_group', lambda s: s.update(next_group=7), 'IndexError'),
    ('no_unrolls', lambda s: s.update(unroll_widths=None), 'TypeError'),
  )
  def test_a_checkpoint_that_does_not_fit(self, damage, message):
    config = runs.tiny_config()
    agent, made = runs.make_agent(config), []
    source = make_source(config, agent)
    self.addCleanup(source.close)
    state = source.get_state()
    arrays = checkpointing.flatten({'source': state.pop('arrays')})
    state = {**json.loads(json.dumps(state)), 'arrays': arrays}
    damage(state)
    make_actor = sources.make_actor

    def make_and_keep(*args):
      made.append(make_actor(*args))
      return made[-1]

    resume = dict(
      num_updates=1,
      config=dict(actor_mode='sync'),
      source=state,
      arrays=state.pop('arrays', {}),
    )
    with (
      mock.patch.object(sources, 'make_actor', make_and_keep),
      self.assertRaisesRegex(UserError, message) as caught,
    ):
      make_source(config, agent, resume)
    self.assertNotIn('\n', str(caught.exception))
    for group in made[0].groups:
      self.assertTrue(group.environments.closed)


class TasksTest(absltest.TestCase):
  def test_every_task_is_played_and_recorded(self):
    with tempfile.TemporaryDirectory() as logdir:
      tasks = ('catch', f'{MODULE_NAME}:make_catch')
      config = runs.tiny_config(
        logdir=logdir, level_name=','.join(tasks), stop_frames=20 * 9
      )
      runs.train(config)
      played = [row['task'] for row in runs.rows(config, 'episodes.csv')]
    # 45 steps of 4 environments, 2 of each task, 9 steps an episode.
    self.assertEqual(
      {t: played.count(t) for t in tasks}, dict.fromkeys(tasks, 10)
    )


class FailingEnvironmentTest(parameterized.TestCase):
  CASES = {
    'sync': ('sync', 'make_failing'),
    'async': ('async', 'make_failing'),
    'sync_processes': ('sync', 'make_failing_processes'),
    'async_processes': ('async', 'make_failing_processes'),
    'dying_processes': ('sync', 'make_dying_processes'),
    'dying_processes_async': ('async', 'make_dying_processes'),
  }

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enter_context(tempfile.TemporaryDirectory())

    def play(name):
      actor_mode, function = cls.CASES[name]
      settings = dict(
        logdir=f'{folder}/{name}',
        actor_mode=actor_mode,
        level_name=f'{MODULE_NAME}:{function}',
        num_environments=4,
        batch_size=4,
        unroll_length=5,
        xla='off',
      )
      return runs.command(
        'impala.experiment',
        '--preset=debug',
        *(f'--{flag}={value}' for flag, value in settings.items()),
      )

    # One at a time: how soon a run ends is measured.
    cls.finished = {name: play(name) for name in cls.CASES}

  @parameterized.named_parameters(*((name, name) for name in CASES))
  def test_ends_with_the_users_own_traceback(self, name):
    finished = self.finished[name]
    self.assertEqual(finished.status, 1, finished)
    lines = finished.stderr.splitlines()
    if name.startswith('dying'):
      self.assertNotIn('Traceback', finished.stderr)
      self.assertRegex(
        lines[-1], '^error: a process of .*:make_dying_.* exit status 3'
      )
      self.assertLess(len(lines), 10, finished.stderr)
    else:
      error = 'ArithmeticError: the ball is lost'
      self.assertIn(error, finished.stderr)
      self.assertRegex(
        finished.stderr, r'user_environments\.py", line \d+, in step'
      )
      self.assertNotIn('core/training', finished.stderr)
      self.assertLess(len(lines), 50 if 'processes' in name else 16)
    raised = re.search(r'raised at ([\d.]+)', finished.stderr)
    self.assertLess(finished.time - float(raised[1]), 5.0)
    self.assertFalse(finished.left_children)


if __name__ == '__main__':
  absltest.main()

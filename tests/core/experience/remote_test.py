"""Tests of core/experience/remote.py and remote_actor.py, on a real cluster."""

import contextlib
import dataclasses
import io
import os
import signal
import tempfile
from unittest import mock

import numpy as np
import psutil
import tree
from absl.testing import absltest, parameterized
from tensorboard.backend.event_processing import event_accumulator

from core.experience import cluster, remote, sources
from core.experience.actors import make_actor
from core.experience.remote_actor import RemoteActor, Started
from core.experience.timing import Timer
from core.interrupt import Interrupt
from core.suites.tasks import Tasks
from tests import runs
from tests.core.experience import ray_cluster
from tests.unrolls import random_unroll

_CLUSTER = contextlib.ExitStack()


def setUpModule():
  _CLUSTER.enter_context(ray_cluster.running(num_cpus=2))


def tearDownModule():
  _CLUSTER.close()


def pong_config(**changes):
  """Returns the config of two actors with four games of Pong each."""
  return runs.tiny_config(
    level_name='pong',
    num_action_repeats=4,
    actor_mode='async',
    cluster='ray',
    num_remote_actors=2,
    **changes,
  )


def actor_pids():
  """Returns the processes of remote actors."""
  found = []
  for process in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.NoSuchProcess):
      if 'ray::RemoteActor' in ' '.join(process.cmdline()):
        found.append(process.pid)
  return found


class RemoteActorTest(absltest.TestCase):
  def test_plays_what_the_local_actor_plays(self):
    import ray

    config = pong_config()
    agent = runs.make_agent(config)
    theirs = ray.remote(RemoteActor).remote(config, type(agent), 1, 7)
    self.addCleanup(ray.kill, theirs)
    ours = make_actor(config, agent, Tasks.of(config), Timer(), 1, 7)
    self.addCleanup(ours.close)
    started = ray.get(theirs.start.remote())
    variables = agent.variables()
    self.assertContainsSubset(started.variable_names, variables)
    # Neither the optimiser's averages nor the critic are sent.
    self.assertLess(len(started.variable_names), len(variables) / 2)
    rng = np.random.default_rng(1)
    for version, is_new in ((3, True), (4, True), (4, False)):
      if is_new:
        for variable in variables.values():
          variable.assign(rng.normal(0.0, 0.05, variable.shape))
      # What comes with a version that is there already is not looked at.
      weights = {
        name: variables[name].numpy() * is_new
        for name in started.variable_names
      }
      found, secs = ray.get(theirs.collect.remote(version, weights))
      expected = ours.collect(version)
      tree.map_structure(np.testing.assert_array_equal, found, expected)
      self.assertEqual(found[0].policy_version[0], version)
      num_bytes = sum(np.asarray(x).nbytes for x in tree.flatten(found))
      self.assertEqual(started.unroll_bytes, num_bytes)
      self.assertSetEqual(set(secs), {'environment', 'inference'})


class RemoteSourceTest(parameterized.TestCase):
  """Of the learner's end, on actors that are made up."""

  def setUp(self):
    super().setUp()
    self.config = pong_config(batch_size=4)
    self.agent = runs.make_agent(self.config)

  def make(self, unrolls=(), resume=None, names=()):
    self.actors = mock.Mock(started=Started(names, 1000), num_alive=2)
    self.actors.poll.side_effect = [(u, {'inference': 1.0}) for u in unrolls]
    self.enter_context(contextlib.redirect_stdout(io.StringIO()))
    self.enter_context(
      mock.patch.object(remote, 'RemoteActors', return_value=self.actors)
    )
    timer = self.timer = Timer()
    source = sources.make_source(
      self.config, self.agent, Tasks.of(self.config), timer, resume or {}
    )
    self.addCleanup(source.close)
    return source

  @parameterized.named_parameters(('one_group', [6]), ('two', [3, 3]))
  def test_batches_lie_outside_of_the_store(self, widths):
    import ray

    spec = self.agent.env_spec
    made = [
      [random_unroll(5, n, spec, seed=10 * i + j) for j, n in enumerate(widths)]
      for i in range(2)
    ]
    stored = [ray.get(ray.put(unrolls)) for unrolls in made]
    source = self.make(stored)
    batches = [source.next_batch(i, Interrupt()) for i in range(3)]
    self.assertEqual(self.timer.take()['inference'], 2.0)
    frames = [b.env_outputs.observation.frame for b in batches]
    expected = [
      u.env_outputs.observation.frame for unrolls in made for u in unrolls
    ]
    np.testing.assert_array_equal(
      np.concatenate(frames, 1), np.concatenate(expected, 1)
    )
    for batch in batches:
      for leaf in tree.flatten(batch):
        while leaf.base is not None:
          leaf = leaf.base
        self.assertIsInstance(leaf, np.ndarray)
        self.assertTrue(leaf.flags.owndata and leaf.flags.writeable)

  def test_weights_are_put_once_per_version(self):
    import ray

    name = next(iter(self.agent.variables()))
    source = self.make(names=(name,))
    _, arguments, *_ = remote.RemoteActors.call_args.args
    with mock.patch.object(ray, 'put', wraps=ray.put) as put:
      first, again = arguments(), arguments()
      with contextlib.suppress(StopIteration):
        source.next_batch(5, Interrupt())
      later = arguments()
    self.assertEqual(put.call_count, 2)
    self.assertEqual(first, again)
    self.assertEqual((first[0], later[0]), (0, 5))
    found = ray.get(later[1])
    self.assertEqual(list(found), [name])
    expected = self.agent.variables()[name].numpy()
    np.testing.assert_array_equal(found[name], expected)

  def test_counters_go_on_after_a_resume(self):
    state = dict(actor_restarts=3, unrolls_lost=6)
    source = self.make(resume=dict(num_updates=1, source=state))
    expected = dict(**state, actors_alive=2)
    self.assertEqual(source.counters(), expected)
    self.assertEqual(source.get_state(), dict(arrays={}, **state))

  def test_seeds_differ_after_a_loss_and_after_a_resume(self):
    import ray

    self.make(resume=dict(num_updates=2))
    begin, *_ = remote.RemoteActors.call_args.args
    with mock.patch.object(ray, 'remote') as wrapped:
      for index, num_before in ((0, 0), (1, 0), (1, 2)):
        begin(index, num_before)
    calls = wrapped.return_value.options.return_value.remote.call_args_list
    found = [call.args[2:] for call in calls]
    self.assertEqual(found, [(0, 14), (1, 14), (1, 14 + 2 * 104_729)])

  def test_label_and_cpus_are_asked_for(self):
    import ray

    changes = dict(actor_label='role=actor', actor_cpus=0.5)
    self.config = dataclasses.replace(self.config, **changes)
    with mock.patch.object(cluster, 'check_room'):
      self.make()
    begin, *_ = remote.RemoteActors.call_args.args
    with mock.patch.object(ray, 'remote') as wrapped:
      begin(0, 0)
    options = wrapped.return_value.options.call_args.kwargs
    self.assertEqual(options['label_selector'], {'role': 'actor'})
    self.assertEqual(options['num_cpus'], 0.5)
    self.assertEqual(options['max_restarts'], 0)


class TrainingTest(absltest.TestCase):
  def test_nobody_at_the_address_is_one_line(self):
    logdir = self.enter_context(tempfile.TemporaryDirectory())
    found = runs.command(
      *('impala.experiment', '--preset=debug', '--cluster=ray'),
      *('--ray_address=127.0.0.1:1', f'--logdir={logdir}'),
    )
    self.assertEqual(found.status, 1, found)
    self.assertRegex(found.stderr, r'^error: no Ray answers at .*:1 .*\n$')
    self.assertNotIn('run.json', os.listdir(logdir))

  def test_goes_on_when_an_actor_is_killed(self):
    import ray

    config = pong_config(
      ray_address=ray.get_runtime_context().gcs_address,
      total_environment_frames=10**8,
      logdir=self.enter_context(tempfile.TemporaryDirectory()),
    )
    run = runs.Run(config)
    self.addCleanup(run.finish, 1)

    def wait_for_both():
      run.wait_for_updates(len(runs.rows(config, 'updates.csv')) + 10)
      run.wait_for(lambda: newest()['actors_alive'] == '2')

    def newest():
      return runs.rows(config, 'updates.csv')[-1]

    run.wait_for_updates(1)
    wait_for_both()
    self.assertLen(actor_pids(), 2)
    os.kill(actor_pids()[0], signal.SIGKILL)
    run.wait_for(lambda: newest()['actor_restarts'] == '1')
    wait_for_both()
    run.signal(signal.SIGINT)
    finished = run.finish()
    self.assertEqual(finished.status, 0, finished)
    self.assertFalse(finished.left_children)
    self.assertIn('warning: lost remote actor', finished.stdout)

    rows = runs.rows(config, 'updates.csv')
    numbers = [int(row['num_updates']) for row in rows]
    self.assertEqual(numbers, list(range(1, len(rows) + 1)))
    self.assertEqual(
      [int(row['env_frames']) for row in rows], [80 * n for n in numbers]
    )
    counted = [
      tuple(int(row[name]) for name in ('unrolls_lost', 'actors_alive'))
      for row in rows
    ]
    # At first one actor may be there before the other.
    steps = list(dict.fromkeys(counted))[-3:]
    self.assertEqual(steps, [(0, 2), (2, 1), (2, 2)], counted)
    accumulator = event_accumulator.EventAccumulator(config.logdir)
    accumulator.Reload()
    for name in ('actor_restarts', 'unrolls_lost', 'actors_alive'):
      shown = [event.value for event in accumulator.Scalars(name)]
      self.assertEqual(shown, [float(row[name]) for row in rows])
    self.assertLen(accumulator.Scalars('policy_lag_mean'), len(rows))
    _, metadata = runs.restore(config)
    state = dict(actor_restarts=1, unrolls_lost=2)
    self.assertEqual(metadata['source'], state)
    self.assertEqual(metadata['num_updates'], len(rows))


if __name__ == '__main__':
  absltest.main()

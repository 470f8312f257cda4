"""Populations that are trained, tested, killed anywhere and started again."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import time
from unittest import mock

import pytest
from absl.testing import absltest, parameterized

from core import flags
from core.errors import UserError
from experiments.population import __main__ as command
from experiments.population import jobs, lineage, members, schedule, state
from tests.experiments.population import member
from tests.experiments.population.population_case import PopulationTestCase


class Killed(BaseException):
  """Ends a launcher where nothing catches it."""


class Here:
  """A process that is over when it starts: the member learns in this one."""

  pid = 0
  broken = 'none'  # Pattern of the slices whose training fails.

  def __init__(self, arguments, *unused):
    config = flags.config_of(member.Config, member.PRESETS, arguments[2:])
    self._status = 0
    with open(os.path.join(config.logdir, 'log'), 'a') as log:
      log.write(f'slice {config.population_slice.partition("/")[2]}\n')
    try:
      if re.search(self.broken, config.population_slice):
        raise UserError('broken')
      member.train(config)
    except UserError:
      self._status = 1

  def poll(self):
    return self._status


class InProcessTest(PopulationTestCase):
  """Populations whose members learn in the test's own process."""

  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(schedule, 'POLL_SECS', 0.0))
    self.enter_context(mock.patch('builtins.print'))

  def train(self, population, slots=1):
    return schedule.train(
      [population], str(self.folder / 'runs'), {}, slots, Here
    )

  def history(self):
    """Returns the events without what differs from run to run."""
    events = state.read_events(str(self.logdir))
    identity = json.loads((self.logdir / 'population.json').read_text())['id']
    for event in events:
      event.pop('secs', None)
    return json.loads(json.dumps(events).replace(identity, 'ID'))

  def test_slices_evolve_after_the_burn_in_and_end(self):
    longer = dict(total_environment_frames=3200)
    population = self.population(longer, BURN_IN_FRAMES=801, NUM_MEMBERS=4)
    found = self.train(population)
    self.assertEqual({job.state for job in found}, {'done'})
    self.assert_whole(population)
    evolved = self.events('evolve')
    self.assertNotEmpty(evolved)
    ends = {e['slice']: e['env_frames'] for e in self.events('slice')}
    for event in evolved:
      self.assertGreaterEqual(event['first_frame'], 801)
      self.assertLess(event['first_frame'], 3201)
      self.assertEqual(event['first_frame'], ends[event['next_parent']])
      better = event['opponent_fitness'] > event['fitness'] + 1.0
      self.assertEqual(event['is_copied'], better)
    copies = [event for event in evolved if event['is_copied']]
    self.assertNotEmpty(copies)
    for event in copies:
      self.assertIn(f'/{event["opponent"]}/', event['next_parent'])
    fitnesses = [m['snapshot']['fitness'] for m in self.members()]
    (end,) = self.events('end')
    self.assertEqual(fitnesses[end['best']], max(fitnesses))

  def test_killed_at_any_write_it_ends_as_if_it_had_not_been(self):
    """Each kind of write about the first copy is the last of a launcher."""
    population = self.population()
    calls, fatal = [], [0]
    originals = {
      name: getattr(os, name) for name in ('replace', 'rename', 'link')
    }

    def recorded(name):
      def call(source, target, **options):
        calls.append((name, re.sub(r'\d+', '', os.path.basename(target))))
        if len(calls) == fatal[0]:
          raise Killed
        originals[name](source, target, **options)
        if len(calls) == -fatal[0]:
          raise Killed

      return call

    with mock.patch.multiple(
      os, **{name: recorded(name) for name in originals}
    ):
      self.train(population)
      whole, whole_calls = self.history(), list(calls)
      copy = whole_calls.index(('rename', 'member_'))
      kinds = dict.fromkeys(whole_calls)
      for number, kind in enumerate(whole_calls, 1):
        if kinds[kind] is None or number <= copy + 1:
          kinds[kind] = number
      self.assertGreater(len(kinds), 8)
      for kind, number in kinds.items():
        for fatal[0] in (number, -number):  # Before the write, or after it.
          shutil.rmtree(self.logdir)
          calls.clear()
          with self.assertRaises(Killed):
            self.train(population)
          fatal[0] = 0
          self.train(population)
          self.assertEqual(self.history(), whole, (kind, number))
          self.assert_whole(population)
          for i in range(population.num_members):
            log = pathlib.Path(population.member_logdir(i), 'log').read_text()
            self.assertStartsWith(log, f'slice {i}/0\n')

  def test_a_member_whose_training_fails_takes_anothers_place(self):
    population = self.population(
      dict(fails_above=0.2, total_environment_frames=3000),
      EXPLORED={'learning_rate': ('log_uniform', 0.19, 0.2)},
      NUM_MEMBERS=2,
      PROBABILITY=1.0,
    )
    self.train(population)
    failures = self.events('failure')
    self.assertNotEmpty(failures)
    copies = [e for e in self.events('evolve') if e['is_copied']]
    self.assertNotEmpty(copies)
    self.assertEqual(failures[0]['reason'].split()[:2], ['exit', 'status'])
    self.assertEqual(
      [f['slice'] for f in failures[:3]], [failures[0]['slice']] * 3
    )

  def test_a_copy_that_fails_too_is_given_up(self):
    population = self.population()
    with mock.patch.object(Here, 'broken', '/1/[1-9]'):
      found = self.train(population)
    states = [job.state for job in found]
    self.assertEqual(states, ['done', 'failed', 'done'])
    failures = [e['slice'].partition('/')[2] for e in self.events('failure')]
    self.assertEqual(failures, ['1/1', '1/1', '1/1', '1/2'])
    self.train(population)
    self.assert_whole(population)

  def test_a_member_that_fails_for_ever_is_given_up(self):
    population = self.population(dict(fails_above=0.0))
    found = self.train(population)
    self.assertEqual({job.state for job in found}, {'failed'})
    self.assertLen(self.events('failure'), 3 * jobs.MAX_FAILURES)
    self.train(population)  # The next launch tries again.
    self.assertLen(self.events('failure'), 6 * jobs.MAX_FAILURES)

  def test_lineage_that_does_not_agree_is_found(self):
    population = self.population()
    self.train(population)
    self.assertEmpty(lineage.check(population))
    path = self.logdir / 'population.jsonl'
    text = path.read_text()
    first = self.events('slice')[0]
    for old, new in (
      ('"env_frames": 800, "values"', '"env_frames": 800, "values"'),
      (
        f'"entropy_cost": {first["values"]["entropy_cost"]}',
        '"entropy_cost": 0.1',
      ),
    ):
      path.write_text(text.replace(old, new.ljust(len(old))))
      problems = lineage.check(population)
      self.assertEqual(bool(problems), old != new)
    begins = [line for line in text.splitlines() if '"begin"' in line]
    path.write_text('\n'.join(begins))  # The slices are in checkpoints alone.
    self.assertLen(lineage.check(population), population.num_members)
    path.write_text(text)
    target = pathlib.Path(population.member_logdir(0), 'checkpoints')
    for checkpoint in target.iterdir():
      checkpoint.unlink()
    (problem,) = lineage.check(population)
    self.assertIn('member 0: the checkpoint descends from []', problem)

  @parameterized.named_parameters(
    ('frames', dict(SLICE_FRAMES=700), 'SLICE_FRAMES was 800, is 700'),
    (
      'range',
      dict(EXPLORED={'learning_rate': ('uniform', 0.1, 1)}),
      'EXPLORED was .*, is .*uniform',
    ),
    ('members', dict(NUM_MEMBERS=4), 'NUM_MEMBERS was 3, is 4'),
    (
      'flag',
      dict(flags=dict(discounting=0.5)),
      '--discounting was 0.9, is 0.5; give the old ones, or another LOGDIR',
    ),
  )
  def test_another_file_is_refused_with_what_changed(self, changes, pattern):
    state.Store(self.population()).begin()
    with self.assertRaisesRegex(UserError, pattern) as caught:
      state.Store(self.population(**changes))
    self.assertNotIn('\n', str(caught.exception))
    state.Store(self.population(dict(update_secs=0.5)))  # May change.

  def test_logdirs_of_others_are_refused(self):
    population = self.population()
    self.train(population)
    own = self.logdir / 'member_01'
    own.rename(self.folder / 'away')
    other = self.population(SEEDS=(2,))
    self.train(other)
    other_logdir = self.logdir.parent / 'seed_2' / 'member_00'
    other_logdir.rename(own)
    with self.assertRaisesRegex(UserError, 'member_01 is of another pop'):
      self.train(population)
    (self.logdir / 'population.json').unlink()
    with self.assertRaisesRegex(
      UserError, 'member_00 is there, but no .*belongs to another population'
    ):
      self.train(population)

  def test_a_snapshot_of_another_slice_is_not_copied(self):
    population = self.population()
    self.train(population)
    with self.assertRaisesRegex(UserError, 'snapshot.npz is of slice .*, not'):
      members.copy(population, 0, 1, 'x/1/0')
    self.assertEmpty(lineage.check(population))  # Member 0 is what it was.


class ProcessesTest(PopulationTestCase):
  """Launchers and members in processes of their own, killed with SIGKILL."""

  def kill_at_random(self, count, seed):
    """Trains a population of which `count` times something is killed."""
    rng = random.Random(seed)
    changes = dict(SLICE_FRAMES=500, STAGES=({}, {'mode': 'test'}))
    slow = dict(
      update_secs=0.05, total_environment_frames=500 * (1 + count // 3)
    )
    path = self.write_file(slow, **changes)
    population = self.population(slow, **changes)
    launcher = self.start(path)
    kinds = [('launcher',), ('member',), ('launcher', 'member')]
    for i in range(count):
      self.wait_for_progress(launcher, rng.randint(1, 2))
      time.sleep(rng.uniform(0, 0.4))
      victims = kinds[i % 3]
      if 'launcher' in victims:
        launcher.kill()
      if 'member' in victims:
        for pid in sorted(self.processes())[: rng.randint(1, 2)]:
          os.kill(pid, signal.SIGKILL)
      if 'launcher' in victims:
        launcher.wait()
        launcher = self.start(path)
    self.assertEqual(launcher.wait(self.timeout_secs), 0, self.output())
    self.assert_whole(population)
    self.assertEmpty(self.processes())
    (best,) = [end['best'] for end in self.events('end')]
    tested = [path.parent.name for path in self.logdir.glob('member_*/tests')]
    self.assertEqual(tested, [f'member_{best:02d}'])

  def output(self):
    return (self.folder / 'output').read_text()

  def wait_for_progress(self, launcher, count):
    """Waits until so many slices were begun or ended."""
    first = self.progress()
    deadline = time.monotonic() + self.timeout_secs
    while self.progress() < first + count:
      self.assertIsNone(launcher.poll(), self.output())
      self.assertLess(time.monotonic(), deadline, self.output())
      time.sleep(0.01)

  def progress(self):
    paths = [self.logdir / 'population.jsonl']
    paths += self.logdir.glob('member_*/starts')
    return sum(p.read_bytes().count(b'\n') for p in paths if p.exists())

  def test_killed_at_six_moments(self):
    self.kill_at_random(6, seed=0)

  @pytest.mark.slow
  def test_killed_at_twenty_moments(self):
    self.kill_at_random(20, seed=1)

  def test_one_line_of_what_is_wrong(self):
    path = self.write_file(NUM_MEMBERS=1)
    self.assertEqual(
      self.launch(path, status=1),
      f'error: {path}: NUM_MEMBERS must be a whole number of at least 2, not '
      '1\n',
    )
    self.assertFalse(self.logdir.exists())


class CatchTest(PopulationTestCase):
  timeout_secs = 600

  @pytest.mark.slow
  def test_real_members(self):
    tiny = dict(preset='debug', total_environment_frames=400)
    tiny |= dict(num_environments=4, batch_size=4, unroll_length=5)
    tiny |= dict(actor_mode='sync', xla='off')
    path = self.folder / 'tiny.flags'  # In a file, some may do nothing.
    path.write_text(''.join(f'--{k}={v}\n' for k, v in tiny.items()))
    changes = dict(
      MODULE='impala.experiment',
      FLAGFILE=str(path),
      OVERRIDES={'fast': {}},
      STAGES=({}, {'mode': 'test', 'test_num_episodes': 2}),
      NUM_MEMBERS=2,
      SLICE_FRAMES=200,
      BURN_IN_FRAMES=200,
      MARGIN=0.0,
    )
    path = self.write_file(**changes)
    self.launch(path, '--slots=2')
    slices = self.events('slice')
    self.assertLen(slices, 4)
    self.assertEqual([e['env_frames'] for e in slices], [200, 200, 400, 400])
    self.assertEmpty(lineage.check(self.population(**changes)))
    for name in ('member_00', 'member_01'):
      found = members.position(str(self.logdir / name))
      self.assertLen(found.lineage, 2)
      path = self.logdir / name / 'updates.csv'
      frames = [int(row.split(',')[1]) for row in path.read_text().split()[1:]]
      self.assertEqual(frames, list(range(20, 401, 20)))
    self.assertLen(list(self.logdir.glob('member_*/evaluation.csv')), 1)


class CommandTest(PopulationTestCase):
  def run_command(self, *arguments):
    """Returns the error that the command ends with, or what it prints."""
    with (
      mock.patch('sys.argv', ['population', *arguments]),
      mock.patch('builtins.print') as printed,
    ):
      try:
        command.main()
      except SystemExit as error:
        return str(error)
    return '\n'.join(call.args[0] for call in printed.call_args_list)

  def test_dry_run_prints_the_first_slices(self):
    lines = self.run_command(self.write_file(), '--dry_run').splitlines()
    self.assertLen(lines, 3)
    for i, line in enumerate(lines):
      self.assertRegex(
        line,
        r'^python -m tests\S+ --preset=tiny --total_environment_frames=2000 '
        rf'--learning_rate=\S+ --entropy_cost=\S+ --seed=100{i} '
        rf'--stop_frames=800 --population_slice=ID/{i}/0 --logdir=\S+_0{i}$',
      )
    self.assertFalse(self.logdir.exists())

  @parameterized.named_parameters(
    ('slots', ('--slots=0',), '--slots must be at least 1'),
    ('address', ('--ray_address=a:1',), 'nothing without --cluster=ray'),
    ('check', ('--check',), 'no population in .*runs yet'),
    ('draw', ('--draw',), 'no population in .*runs yet'),
  )
  def test_refused(self, arguments, pattern):
    said = self.run_command(self.write_file(), *arguments)
    self.assertRegex(said, f'^error: .*{pattern}')
    self.assertFalse(self.logdir.exists())


if __name__ == '__main__':
  absltest.main()

"""What a person sees of populations, before and while they train."""

import io
from unittest import mock

import rich.console
from absl.testing import absltest

from experiments.launch import estimate
from experiments.population import __main__ as command
from experiments.population import display, schedule, settings, state
from experiments.population.jobs import Job
from tests.experiments.population.population_case import PopulationTestCase
from tests.experiments.population.population_test import Here


class DisplayTest(PopulationTestCase):
  def make_jobs(self):
    """Four members: waiting with a slice behind it, at work, failed, done."""
    store = state.Store(self.population(NUM_MEMBERS=4))
    jobs = [Job(store, i) for i in range(4)]
    store.members[0].first_frame = 800
    store.members[0].snapshot = state.Snapshot('x/0/0', 800, -1.234, {})
    for member, rate in zip(
      store.members, (0.1, 0.22222, 0.3, 0.4), strict=True
    ):
      member.values = dict(learning_rate=rate, entropy_cost=0.15)
    jobs[1].state = 'running'
    folder = self.logdir / 'member_01'
    folder.mkdir(parents=True)
    (folder / 'updates.csv').write_text(
      'env_frames,frames_per_sec\n1700,12345.0\n'
    )
    jobs[2].state, jobs[2].reason = 'failed', 'exit status 3'
    jobs[3].state, jobs[3].reason = 'done', 'it once failed'
    return jobs

  def show(self, jobs, is_terminal, height=20):
    output = io.StringIO()
    console = rich.console.Console(
      file=output, force_terminal=is_terminal, width=110, height=height
    )
    with display.Display(console) as shown:
      shown.update(jobs, schedule.summary(jobs))
      shown.update(jobs, 'not shown so soon')
      jobs[1].state = 'done'
      shown.update(jobs, 'shown at once')
    return output.getvalue()

  def test_table(self):
    output = self.show(self.make_jobs(), is_terminal=True)
    self.assertIn(
      '4 members: 1 running, 1 failed, 1 waiting, 1 done; 10.0 % of frames',
      output,
    )
    self.assertNotIn('not shown so soon', output)
    self.assertIn('shown at once', output)
    self.assertNotIn('it once failed', output)
    lines = output.splitlines()
    rows = [line for line in lines if 'fast/seed_1 member' in line][:4]
    for row, words in zip(
      rows,
      (
        ('member 1', 'running', '1,700/2,000', '12,345', '0.222'),
        ('member 2', 'failed: exit status 3', '0/2,000'),
        ('member 0', 'waiting', '800/2,000', '-1.23', '0.15'),
        ('member 3', 'done', '0.4'),
      ),
      strict=True,
    ):
      for word in words:
        self.assertIn(word, row)

  def test_a_low_terminal_counts_the_rest(self):
    jobs = 2 * self.make_jobs()
    self.assertIn('and 4 more', self.show(jobs, is_terminal=True, height=8))

  def test_without_a_terminal_lines_say_it_all(self):
    self.assertEqual(self.show(self.make_jobs(), is_terminal=False), '')

  def test_training_shows_it(self):
    shown = self.enter_context(mock.patch.object(display.Display, 'update'))
    self.enter_context(mock.patch('builtins.print'))
    root = str(self.folder / 'runs')
    schedule.train([self.population()], root, {}, 3, Here)
    jobs, title = shown.call_args_list[0].args
    self.assertLen(jobs, 3)
    self.assertStartsWith(title, '3 members: 3 running; ')


class EstimateTest(PopulationTestCase):
  def test_all_members_count(self):
    one = estimate.Measurement(2000, 100.0, 0.5)
    self.enter_context(mock.patch.object(estimate, 'measure', return_value=one))
    output = self.enter_context(
      mock.patch('sys.stdout', new_callable=io.StringIO)
    )
    path = self.write_file(SEEDS=(1, 2))
    command._estimate(settings.read(path), 2)
    text = output.getvalue()
    # Two populations of three; a member has slices to 800, 1600 and 2000.
    self.assertRegex(text, r'fast +6 +2,000 +100 ')
    self.assertRegex(text, r'all, 2 side by side +6 +12,000 ')
    self.assertIn('the starts of 18 processes, one per slice', text)


if __name__ == '__main__':
  absltest.main()

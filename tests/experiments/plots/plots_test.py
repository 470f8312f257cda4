"""Pictures of runs: what they show, and what they refuse."""

import os
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.plots import __main__ as plots
from experiments.plots import drawing
from tests.experiments.fake_runs import TOTAL_FRAMES, write_run

# Human-normalised: pong 50, 100 %; breakout 200, 400 %; qbert 0, 10 %.
LOW = {'pong': -20.7 + 17.65, 'breakout': 1.7 + 57.6, 'qbert': 163.9}
HIGH = {'pong': 14.6, 'breakout': 1.7 + 115.2, 'qbert': 163.9 + 1329.11}


class PlotsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    for agent, means in (('low', LOW), ('high', HIGH)):
      for seed in (1, 2):
        # Seeds lie at the mean ± 1.
        shifted = {t: m + (-1) ** seed for t, m in means.items()}
        write_run(f'{self.root}/{agent}/seed_{seed}', shifted, seed)
    self.folders = [f'{self.root}/low', f'{self.root}/high']

  def draw(self, kind, *arguments, folders=None):
    """Draws without writing; returns the figure."""
    folders = folders or self.folders
    figure = plots.draw(plots.parse([kind, *folders, '--out=-', *arguments]))
    self.addCleanup(drawing.open_pyplot().close, figure)
    return figure

  def run_main(self, *arguments):
    with mock.patch.object(sys, 'argv', ['plots', *arguments]):
      plots.main()

  def text(self, figure):
    return ' '.join(text.get_text() for text in figure.texts)

  @parameterized.parameters(*plots.KINDS)
  def test_every_kind_is_written_as_a_picture(self, kind):
    out = os.path.join(self.root, 'new', f'{kind}.png')
    self.run_main(kind, *self.folders, f'--out={out}')
    with open(out, 'rb') as file:
      content = file.read()
    self.assertEqual(content[:8], b'\x89PNG\r\n\x1a\n')
    self.assertGreater(len(content), 10_000)

  def test_curves_have_seeds_mean_band_and_frames(self):
    figure = self.draw('curves', '--window=4')
    titles = [ax.get_title() for ax in figure.axes]
    self.assertEqual(titles, ['median of 3 tasks', 'pong', 'breakout', 'qbert'])
    pong = figure.axes[1]
    first, second, mean = pong.lines[:3]  # Of low.
    self.assertLen(pong.collections, 2)  # Bands of both agents.
    # The returns rise in a line, so does their mean of 4, 1.5 steps behind.
    step = TOTAL_FRAMES / 40 / 1e6
    x = np.array([0.1, 0.25, 0.4])
    for line, end in ((first, -4.05), (second, -2.05), (mean, -3.05)):
      expected = 2 * end * (x - 1.5 * step) / 0.4
      np.testing.assert_allclose(np.interp(x, *line.get_data()), expected)
    self.assertAlmostEqual(mean.get_xdata()[-1], 0.4)
    self.assertIn('mean of 4 episodes', self.text(figure))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    self.assertEqual(legend, ['low (2 seeds)', 'high (2 seeds)'])

  def test_aggregate_is_the_median_of_normalised_scores(self):
    lines = self.draw('curves', '--window=1').axes[0].lines
    # At half of the frames the curves stand at their means: low has 50, 200, 0.
    seeds = [
      np.median([50 + s / 0.353, 200 + s / 0.288, s / 132.911]) for s in (-1, 1)
    ]
    found = np.interp(0.2, *lines[2].get_data())
    self.assertAlmostEqual(found, np.mean(seeds), places=2)
    mean = self.draw('curves', '--window=1', '--aggregate=mean').axes[0].lines
    self.assertAlmostEqual(
      np.interp(0.2, *mean[2].get_data()), 250 / 3, places=2
    )

  def test_an_incomplete_run_is_dashed_and_in_no_mean(self):
    before = self.draw('curves').axes[1].lines[2].get_ydata()
    folder = f'{self.root}/low/seed_3'
    write_run(folder, dict.fromkeys(LOW, 9e9), 3, env_frames=200_000)
    figure = self.draw('curves')
    lines = figure.axes[1].lines
    styles = [line.get_linestyle() for line in lines[:4]]
    self.assertEqual(styles, ['-', '-', '--', '-'])
    np.testing.assert_array_equal(lines[3].get_ydata(), before)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    self.assertEqual(legend[0], 'low (2 seeds)')
    bars = self.draw('bars').axes[0].containers[0]
    self.assertLess(max(bar.get_width() for bar in bars), 1000)

  def test_curves_of_other_protocols_say_so(self):
    write_run(f'{self.root}/other', LOW, protocol=dict(noop_max=1))
    text = self.text(
      self.draw('curves', folders=[*self.folders, f'{self.root}/other'])
    )
    self.assertIn('PROTOCOLS DIFFER', text)
    self.assertIn('noop_max: not said (low, high), 1 (other)', text)
    self.assertNotIn('DIFFER', self.text(self.draw('curves')))

  def test_bars_are_scores_on_a_log_axis(self):
    ax = self.draw('bars').axes[0]
    self.assertEqual(ax.get_xscale(), 'symlog')
    names = [label.get_text() for label in ax.get_yticklabels()]
    self.assertEqual(names, ['qbert', 'pong', 'breakout'])  # From below.
    for bars, scores in zip(
      ax.containers, ([0, 50, 200], [10, 100, 400]), strict=True
    ):
      widths = [bar.get_width() for bar in bars]
      np.testing.assert_allclose(widths, scores, atol=1e-6)
    linear = self.draw('bars', '--axis=linear').axes[0]
    self.assertEqual(linear.get_xscale(), 'linear')

  def test_bars_without_evaluation_are_of_training_and_say_so(self):
    os.remove(f'{self.root}/low/seed_2/evaluation.csv')
    figure = self.draw('bars')
    text = self.text(figure)
    self.assertIn('last 100 training episodes per task: 1 of 4 runs', text)
    pong = figure.axes[0].containers[1][1].get_width()
    # All 40 episodes: the mean of the line is 41 / 40 of its middle.
    self.assertAlmostEqual(pong, 100 * (14.6 * 41 / 40 + 20.7) / 35.3)

  def test_statistics_are_shift_and_scale(self):
    axes = self.draw('statistics').axes
    self.assertLen(axes, 6)
    self.assertEqual(axes[0].get_title(), 'pong')
    top, bottom = axes[0], axes[3]
    np.testing.assert_allclose(top.lines[0].get_ydata(), LOW['pong'] - 1)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), 2.0)
    self.assertEqual(bottom.get_yscale(), 'log')
    band = top.collections[0].get_paths()[0].get_extents()
    self.assertAlmostEqual(band.height, 4.0)

  def test_intervals_stand_at_the_aggregates(self):
    axes = self.draw('intervals').axes
    titles = [ax.get_title() for ax in axes]
    self.assertEqual(titles, ['Mean, %', 'Median, %', 'IQM, %'])
    # Lines and bars from below: high, low.
    for i, mean, median in ((0, 510 / 3, 100), (1, 250 / 3, 50)):
      for ax, point in ((axes[0], mean), (axes[1], median)):
        line = ax.collections[i].get_segments()[0]
        self.assertAlmostEqual(line[0][0], point, places=3)
        bar = ax.patches[i]
        self.assertGreater(bar.get_width(), 0)
        end = bar.get_x() + bar.get_width()
        self.assertBetween(point, bar.get_x() - 1e-6, end + 1e-6)

  def test_a_single_run_has_no_interval(self):
    folders = [f'{self.root}/low/seed_1', f'{self.root}/high']
    figure = self.draw('intervals', folders=folders)
    self.assertIn('no interval: low', self.text(figure))
    ax = self.draw('profiles', folders=folders).axes[0]
    self.assertLen(ax.collections, 1)

  def test_profiles_are_shares_above_a_score(self):
    ax = self.draw('profiles').axes[0]
    low, high = ax.lines[:2]
    for line, tau, share in (
      (low, 25, 2 / 3),
      (low, 125, 1 / 3),
      (low, 300, 0),
      (high, -5, 1),
      (high, 50, 2 / 3),
      (high, 300, 1 / 3),
    ):
      self.assertAlmostEqual(np.interp(tau, *line.get_data()), share, msg=tau)

  @parameterized.named_parameters(
    ('kind', ['bar'], 'unknown kind .bar.; there are curves, bars, stat'),
    ('format', ['curves', '--out=x.xyz'], '--out=x.xyz: .* ends in .*, .png,'),
    ('no_name', ['curves', '--out='], '--out=: .* ends in .*, .png,'),
    ('no_ending', ['curves', '--out=png'], '--out=png: .* ends in .*, .png,'),
    ('hidden', ['curves', '--out=a/.png'], '--out=a/.png: .* ends in .*, .png'),
    ('window', ['curves', '--window=0'], '--window is 0, but must be at least'),
    ('file', ['bars', '--references=no.csv'], 'there is no no.csv'),
  )
  def test_bad_arguments_are_one_line(self, arguments, message):
    kind, *rest = arguments
    out = f'--out={self.root}/a.png'
    with self.assertRaisesRegex(SystemExit, f'^error: {message}'):
      self.run_main(kind, *self.folders, out, *rest)

  def test_scores_of_other_protocols_are_refused(self):
    write_run(f'{self.root}/high/seed_1', HIGH, evaluation_protocol='sticky')
    for kind in ('bars', 'intervals', 'profiles'):
      with self.assertRaisesRegex(
        UserError, "evaluations differ.*'sticky' .hi"
      ):
        self.draw(kind)
    write_run(f'{self.root}/high/seed_1', HIGH, protocol=dict(noop_max=1))
    with self.assertRaisesRegex(UserError, 'protocols differ: .*noop_max'):
      self.draw('bars')

  def test_aggregates_of_other_tasks_are_refused(self):
    folder = write_run(f'{self.root}/one', {'pong': 0.0})
    with self.assertRaisesRegex(
      UserError, 'one has no returns of breakout, qb'
    ):
      self.draw('intervals', folders=[*self.folders, folder])
    write_run(f'{self.root}/low/seed_1', {'pong': 0.0})
    with self.assertRaisesRegex(UserError, 'low has not .*pong 2, breakout 1'):
      self.draw('profiles')

  def test_an_agent_without_complete_run_is_refused(self):
    for seed in (1, 2):
      write_run(f'{self.root}/low/seed_{seed}', LOW, env_frames=51_200)
    with self.assertRaisesRegex(UserError, 'low has no complete run: .*51.2k'):
      self.draw('bars')
    self.assertLen(self.draw('curves').axes, 4)

  def test_runs_without_statistics_are_refused(self):
    for agent in ('low', 'high'):
      for seed in (1, 2):
        os.remove(f'{self.root}/{agent}/seed_{seed}/tasks.csv')
    with self.assertRaisesRegex(UserError, 'no tasks.csv with shift and scale'):
      self.draw('statistics')

  def test_unknown_tasks_need_references(self):
    folder = write_run(f'{self.root}/own', {'a.b:c': 3.0, 'a.b:d': 4.0})
    with self.assertRaisesRegex(
      UserError, 'known for a.b:c, a.b:d: give --ref'
    ):
      self.draw('bars', folders=[folder])
    path = f'{self.root}/references.csv'
    with open(path, 'w') as file:
      file.write('task,random,human\na.b:c,1,5\na.b:d,0,8\n')
    ax = self.draw('bars', f'--references={path}', folders=[folder]).axes[0]
    self.assertEqual([bar.get_width() for bar in ax.containers[0]], [50, 50])
    with open(path, 'a') as file:
      file.write('e,0,x\n')
    with self.assertRaisesRegex(
      UserError, 'references.csv, line 4: human is x'
    ):
      self.draw('bars', f'--references={path}', folders=[folder])


if __name__ == '__main__':
  absltest.main()

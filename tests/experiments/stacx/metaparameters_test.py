"""The picture of metaparameters over frames."""

import csv
import os
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest

from core.errors import UserError
from experiments.plots import drawing
from experiments.stacx import metaparameters
from tests.experiments.fake_runs import write_run


class MetaparametersTest(absltest.TestCase):
  def run_with(self, seed, name='stacx', **columns):
    """Writes a run whose updates.csv has more columns; returns its folder."""
    root = self.create_tempdir().full_path if seed == 1 else self.root
    self.root = root
    folder = write_run(f'{root}/{name}/seed_{seed}', {'pong': 1.0}, seed)
    path = os.path.join(folder, 'updates.csv')
    with open(path, newline='', encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
      row.update({name: start + 0.01 * i for name, start in columns.items()})
    with open(path, 'w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, rows[0], lineterminator='\n')
      writer.writeheader()
      writer.writerows(rows)
    return folder

  def draw(self, *folders):
    figure = metaparameters.draw(drawing.open_pyplot(), folders)
    self.addCleanup(drawing.open_pyplot().close, figure)
    return figure

  def test_a_panel_per_metaparameter_a_line_per_head(self):
    columns = dict(
      g_v_head_1=0.5,
      gamma_head_1=0.9,
      gamma_head_2=0.8,
      gamma_gradient_head_1=3.0,
      truncated_share_head_1=0.1,
    )
    figure = self.draw(self.run_with(1, **columns))
    titles = [ax.get_title() for ax in figure.axes]
    self.assertEqual(titles, ['discount γ', 'value loss g_v (share)', 'return'])
    gamma, g_v, returns = figure.axes
    self.assertEqual(
      [line.get_label() for line in gamma.lines], ['head 1', 'head 2']
    )
    self.assertLen(g_v.lines, 1)
    for line, start in zip(gamma.lines, (0.9, 0.8), strict=True):
      x, y = line.get_data()
      np.testing.assert_allclose(y, start + 0.01 * np.arange(len(y)))
      self.assertLess(x[-1], 1.0)  # Millions.
    self.assertLen(returns.lines, 1)

  def test_seeds_are_thin_their_mean_is_thick(self):
    for seed, start in ((1, 0.2), (2, 0.4)):
      folder = self.run_with(seed, gamma_head_1=start)
    figure = self.draw(os.path.dirname(folder))
    first, second, mean = figure.axes[0].lines
    self.assertLess(first.get_linewidth(), mean.get_linewidth())
    x = mean.get_xdata()
    expected = np.mean(
      [np.interp(x, *line.get_data()) for line in (first, second)], axis=0
    )
    np.testing.assert_allclose(mean.get_ydata(), expected)
    np.testing.assert_allclose(expected[0], 0.3)

  def test_is_written_as_a_picture(self):
    folder = self.run_with(1, gamma_head_1=0.5)
    out = os.path.join(self.root, 'x.png')
    with mock.patch.object(sys, 'argv', ['x', folder, f'--out={out}']):
      metaparameters.main()
    with open(out, 'rb') as file:
      self.assertEqual(file.read(8), b'\x89PNG\r\n\x1a\n')

  def test_a_run_without_metaparameters_is_refused(self):
    folder = self.run_with(1)
    with self.assertRaisesRegex(UserError, 'no metaparameters in .*seed_1'):
      self.draw(folder)


if __name__ == '__main__':
  absltest.main()

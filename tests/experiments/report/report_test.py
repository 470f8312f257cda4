"""The report, opened in a real browser."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
from absl.testing import absltest

from experiments.report import __main__ as report
from tests.experiments.fake_runs import write_run

INSTALL = (
  'chromium is missing, in which this test opens the report: '
  'apt-get install --no-install-recommends chromium'
)
FLAGS = (
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-sync',
  '--disable-component-update',
  '--enable-logging=stderr',
  '--dump-dom',
  '--virtual-time-budget=15000',
  '--window-size=1280,1600',
)
NASTY = '</script><script>console.error("injected")</script>'
# Moves the mouse over the first curve, then drags over a third of it.
USE_MOUSE = """<script>
addEventListener('load', () => setTimeout(() => {
  const plot = document.getElementById('curve-1-1');
  const area = plot.querySelector('.nsewdrag');
  const box = area.getBoundingClientRect();
  const move = (target, type, x, y, buttons) => target.dispatchEvent(
    new MouseEvent(type, {
      bubbles: true, view: window, buttons,
      clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    }));
  move(area, 'mousemove', .5, .5, 0);
  setTimeout(() => {
    const result = {before: [...plot.layout.xaxis.range]};
    result.hover = plot.querySelector('.hovertext')?.textContent;
    move(area, 'mousedown', .3, .2, 1);
    move(document, 'mousemove', .6, .8, 1);
    move(document, 'mouseup', .6, .8, 0);
    setTimeout(() => {
      result.after = plot.layout.xaxis.range;
      document.body.dataset.result = JSON.stringify(result);
    }, 500);
  }, 500);
}, 2000));
</script>"""


class Page:
  """What a browser makes of a file: its elements, messages and picture."""

  def __init__(self, path, *flags):
    browser = shutil.which('chromium') or shutil.which('chromium-browser')
    if not browser:
      raise AssertionError(INSTALL)
    self.picture = f'{path}.png'
    with tempfile.TemporaryDirectory() as profile:
      result = subprocess.run(
        [
          browser,
          *FLAGS,
          *flags,
          f'--user-data-dir={profile}',
          f'--screenshot={self.picture}',
          f'file://{path}',
        ],
        capture_output=True,
        timeout=120,
        check=True,
      )
    self.dom = result.stdout.decode()
    log = result.stderr.decode(errors='replace')
    # Script errors, refused loads and console.error, with their texts.
    self.messages = [line for line in log.splitlines() if 'CONSOLE' in line]

  def rows(self, table_class):
    """Returns the cells' texts of the first table of a class, by row."""
    table = self.dom.split(f'class="{table_class}"', 1)[1].split('</table>')[0]
    return [
      [
        ' '.join(html.unescape(re.sub(r'<[^>]*>', ' ', cell)).split())
        for cell in re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row, re.DOTALL)
      ]
      for row in re.findall(r'<tr[^>]*>(.*?)</tr>', table, re.DOTALL)
    ]

  def curves(self):
    """Returns the width in pixels of every line that is drawn."""
    paths = re.findall(r'<path[^>]*class="js-line"[^>]*>', self.dom)
    points = [re.findall(r'[ML]([\d.]+),([\d.]+)', path) for path in paths]
    return [float(p[-1][0]) - float(p[0][0]) for p in points if len(p) > 1]


class ReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    self.out = f'{self.root}/pages/report.html'
    for agent, gain in (('low', 0.5), ('high', 1.0)):
      means = {'pong': -20.7 + 35.3 * gain, 'breakout': 1.7 + 28.8 * gain}
      for seed in (1, 2):
        write_run(f'{self.root}/{agent}/seed_{seed}', means, seed)

  def test_an_unknown_ending_is_one_line(self):
    for out in ('', 'page', f'{self.root}/page.pdf'):
      self.out = out
      message = f'^error: --out={self.out}: .* ends in .html, .htm$'
      with self.assertRaisesRegex(SystemExit, message):
        self.write()

  def write(self, *arguments, folders=('low', 'high')):
    folders = [f'{self.root}/{folder}' for folder in folders]
    command = ['report', *folders, f'--out={self.out}', *arguments]
    with mock.patch.object(sys, 'argv', command):
      report.main()
    with open(self.out, encoding='utf-8') as file:
      return file.read()

  @pytest.mark.browser
  def test_page_in_a_browser(self):
    self.write(f'--title={NASTY}')
    with open(self.out, 'a') as file:
      file.write(USE_MOUSE)
    page = Page(self.out)
    self.assertEqual(page.messages, [])
    with self.subTest('curves'):
      # Aggregate and two tasks: of each agent two seeds and a mean.
      wide = [width for width in page.curves() if width > 100]
      self.assertGreaterEqual(len(wide), 18)
    with self.subTest('hover_and_zoom'):
      text = re.search(r'data-result="([^"]*)"', page.dom)[1]
      result = json.loads(html.unescape(text))
      self.assertRegex(result['hover'], r'(low|high), .*frame 2\d\d.*k: ')
      start, end = result['after']
      low, high = result['before']
      self.assertAlmostEqual((end - start) / (high - low), 0.3, delta=0.02)
    with self.subTest('table'):
      top, names, *rows = page.rows('scores')
      self.assertEqual(top, ['task', 'ours', 'random', 'human', 'published'])
      self.assertEqual(names[:2], ['low (2 runs)', 'high (2 runs)'])
      rows = {row[0]: row for row in rows}
      self.assertEqual(rows['pong'][2], '14.6 ± 0 100.0 %')
      self.assertEqual(rows['pong'][3:5], ['-20.7', '14.6'])
      # IMPALA, Table C.1.
      column = 3 + names.index(
        'IMPALA (shallow) (impala, Table C.1; 1-30 no-ops, 200M frames)'
      )
      self.assertEqual(rows['pong'][column], '20.4')
      self.assertEqual(rows['breakout'][column], '640.4')
      self.assertEqual(rows['median of 2, %'][1], '50.0 [50.0, 50.0]')
    with self.subTest('suite'):
      rows = page.rows('suite')
      self.assertIn(
        ['popart, Table 1', 'PopArt-IMPALA', 'atari57'],
        [row[:3] for row in rows],
      )
    with self.subTest('title'):
      self.assertIn('&lt;script&gt;console.error', page.dom)
    with self.subTest('picture'):
      self.assertGreater(os.path.getsize(page.picture), 30_000)

  @pytest.mark.browser
  def test_the_browser_tells_of_errors_and_refuses_loads(self):
    text = self.write()
    with open(self.out, 'w') as file:
      file.write(
        text + '<script>missing()</script>'
        '<script src="https://localhost/x.js"></script>'
      )
    messages = ' '.join(Page(self.out).messages)
    self.assertIn('missing is not defined', messages)
    self.assertIn('Content Security Policy', messages)

  def test_page_names_no_other_file(self):
    text = self.write()
    tags = re.findall(r'<(?:script|link|img|iframe|video)\b[^>]*>', text)
    self.assertNotEmpty(tags)
    for tag in tags:
      self.assertNotIn('src', tag)
      self.assertNotIn('href', tag)

  def test_incomplete_runs_are_marked_and_not_averaged(self):
    means = {'pong': 9e9, 'breakout': 9e9}
    write_run(f'{self.root}/high/seed_3', means, 3, env_frames=100_000)
    means = {'pong': 1.0, 'breakout': 1.0}
    write_run(f'{self.root}/new/seed_1', means, env_frames=51_200)
    text = self.write(folders=('low', 'high', 'new'))
    self.assertRegex(text, 'class="problem">\\s*incomplete: 51.2k of 400k</td>')
    self.assertIn('new has no complete run and no scores.', text)
    self.assertIn('14.6 ± 0<br>', text)
    self.assertNotIn('9,000,000', text)
    self.assertIn('high, mean of 2', text)

  def test_protocols_get_sections_of_their_own(self):
    write_run(f'{self.root}/new', {'pong': 1.0}, protocol=dict(noop_max=1))
    text = self.write(folders=('low', 'high', 'new'))
    self.assertIn('Protocol 1: low, high', text)
    self.assertIn('Protocol 2: new', text)
    self.assertIn('<li>noop_max: not said (low, high), 1 (new)</li>', text)
    self.assertEqual(text.count('class="scores"'), 2)

  def test_configuration_tells_what_differs(self):
    write_run(f'{self.root}/a', {'pong': 1.0}, config=dict(cost=1))
    write_run(f'{self.root}/b', {'pong': 1.0}, config=dict(cost=2))
    text = self.write(folders=('a', 'b'))
    different = text.split('Config: what differs')[1].split('</table>')[0]
    self.assertRegex(different, r'(?s)cost</td>\s*<td><code>1.*<code>2</code>')
    self.assertNotIn('level_name', different)
    for part in ('2 cores A CPU', '--flagfile=a.flags', '0123456789'):
      self.assertIn(part, text)

  def test_videos_are_embedded_up_to_the_limit(self):
    for seed in (1, 2):
      with open(f'{self.root}/low/seed_{seed}/pong.mp4', 'wb') as file:
        file.write(b'video' * 100_000)
    text = self.write('--max_video_mib=0.7')
    self.assertEqual(text.count('src="data:video/mp4;base64,dmlkZW92aWRlb3'), 1)
    self.assertIn('href="../low/seed_2/pong.mp4"', text)
    text = self.write('--max_video_mib=0')
    self.assertNotIn('src="data:video', text)

  def test_runs_without_episodes_or_evaluation_are_no_error(self):
    folder = f'{self.root}/low/seed_1'
    for name in ('episodes.csv', 'evaluation.csv', 'tasks.csv'):
      os.remove(f'{folder}/{name}')
    text = self.write(folders=('low/seed_1',))
    self.assertIn('No curves: no finished episode in', text)
    self.assertIn('No table of scores: no evaluation and no', text)

  def test_bad_input_is_one_line(self):
    with self.assertRaisesRegex(SystemExit, '^error: no records in .*/none'):
      self.write(folders=('none',))
    path = f'{self.root}/low/seed_1/evaluation.csv'
    with open(path, 'a') as file:
      file.write('pong,9,much,1,whole games\n')
    message = f'^error: {path}, line 10: return is much'
    with self.assertRaisesRegex(SystemExit, message):
      self.write()
    self.assertFalse(os.path.exists(self.out))


if __name__ == '__main__':
  absltest.main()

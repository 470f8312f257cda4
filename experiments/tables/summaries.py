"""Overviews over all papers: what was run, what it cost, what is recorded."""

import glob
import os
import re
from collections.abc import Sequence

from experiments.runs import describe, recorded
from experiments.runs.wording import (
  describe_hardware,
  format_frames,
  format_hours,
)
from experiments.tables import comparison, layout, markdown, published

TITLES = {
  'impala': 'IMPALA',
  'popart': 'PopArt',
  'distral': 'Distral',
  'stacx': 'STACX',
  'prl': 'PRL',
  'brc': 'BRC',
}
# Which folders under experiments/ hold the flag files of a paper's items.
_FLAG_FOLDERS = {'popart': ('popart', 'pixel_control')}


def list_items() -> tuple[list[str], list[list[str]]]:
  """Returns header and body of the list of all published tables."""
  header = ['paper', 'table', 'flag files', 'numbers', 'beside ours']
  body = []
  for paper in published.PAPERS:
    table = published.read(paper)
    for item in published.items(paper):
      numbers = table[table['item'] == item]
      compared = [
        line.published
        for name in _rows(paper, item)
        for line in comparison.compare(paper, item, name)
        if line.ours.is_run
      ]
      num_compared = len(dict.fromkeys(compared))
      files = ', '.join(_flag_files(paper, item)) or '-'
      body.append([paper, item, files, str(len(numbers)), str(num_compared)])
    if table.empty:
      body.append([paper, '-', '-', '0', '0'])
  return header, body


def items_text() -> str:
  """Returns Markdown of the list of all published tables."""
  return markdown.table(*list_items(), numbers=(3, 4))


def list_compute() -> tuple[list[str], list[list[str]]]:
  """Returns header and body of the table of compute spent on training."""
  header = ['results', 'hardware', 'seeds', 'frames a seed', 'frames/s']
  header += ['hours in all', 'published frames at this speed']
  body, total = [], 0.0
  frames_by_name = _published_frames()
  for name in recorded.names():
    runs = recorded.read(name)
    hours = sum(run.wall_secs for run in runs) / 3600
    total += hours
    # A run that ended before its first record has neither hours nor speed.
    speed = sum(run.frames for run in runs) / (3600 * hours) if hours else 0.0
    full = frames_by_name.get(name)
    body.append(
      [
        name,
        describe.hardware(runs),
        str(len(runs)),
        format_frames(describe.mean_frames(runs)),
        f'{speed:,.0f}' if speed else '-',
        f'{hours:.1f}',
        _extrapolate(full, speed) if full and speed else '-',
      ]
    )
  for name in recorded.table_experiments():
    info = recorded.read_table_experiment(name)
    machine = describe_hardware(info['hardware'])
    hours = info['wall_secs'] / 3600
    total += hours
    body.append([name, machine, '-', '-', '-', f'{hours:.1f}', '-'])
  body.append(['all', '', '', '', '', f'{total:.1f}', ''])
  return header, body


def compute_text() -> str:
  """Returns Markdown of the table of compute."""
  header, body = list_compute()
  return markdown.table(header, body, range(2, len(header)))


def list_others(connected: Sequence[str] = ()) -> tuple[list, list]:
  """Returns header and body of what stands beside no published number.

  Args:
    connected: names of recorded rows to leave out.
  """
  header = ['recorded', 'command', 'hardware, time', 'seeds', 'frames']
  body = []
  for name in recorded.names():
    whole = [r for r in recorded.read(name) if not r.problem]
    if name in connected:
      continue
    if not whole:
      body.append([name, comparison.INCOMPLETE, '', '0', ''])
      continue
    hours = format_hours(describe.mean_hours(whole))
    body.append(
      [
        name,
        describe.command(whole),
        f'{describe.hardware(whole)}, {hours}',
        str(len(whole)),
        format_frames(describe.mean_frames(whole)),
      ]
    )
  for name in recorded.table_experiments():
    info = recorded.read_table_experiment(name)
    machine = describe_hardware(info['hardware'])
    time = format_hours(info['wall_secs'] / 3600)
    body.append([name, info['command'], f'{machine}, {time}', '-', '-'])
  return header, body


def results_text() -> str:
  """Returns Markdown of all recorded results, those beside published first.

  Results tested in different ways stand in tables of their own.
  """
  connections = comparison.read_connections()
  groups: dict[tuple, list[comparison.Line]] = {}
  rows = dict.fromkeys((c.paper, c.item, c.row) for c in connections)
  for paper, item, row in rows:
    for line in comparison.compare(paper, item, row):
      if line.ours.is_run:
        test = line.ours.whole[0].test_protocol
        key = (paper, item, line.published.statistic, test)
        groups.setdefault(key, []).append(line)
  parts = [_group_text(*key, lines) for key, lines in groups.items()]
  parts.append(layout.INTERVAL)
  header, body = list_others([c.results for c in connections])
  if body:
    parts.append('Recorded without a published number beside it:')
    body = [[_link(name), _code(line), *rest] for name, line, *rest in body]
    parts.append(markdown.table(header, body, range(3, len(header))))
  return '\n\n'.join(parts)


def _group_text(paper, item, statistic, test, lines):
  """Returns Markdown of the results that stand in one table."""
  comparison.check_same_protocol(lines)
  table = published.select(paper, item)
  decimals = layout.decimals_of(table.itertuples())
  header = ['row', 'command', 'hardware, time', 'data']
  header += ['published', 'frames', 'ours', 'seeds', 'our frames']
  body = []
  for line in lines:
    number, whole = line.published, line.ours.whole
    hours = format_hours(describe.mean_hours(whole))
    digits = decimals[statistic, number.task]
    body.append(
      [
        f'{number.row}, {number.task}',
        _code(describe.command(whole)),
        f'{describe.hardware(whole)}, {hours}',
        _link(line.ours.name),
        f'{number.value:,.{digits}f}',
        format_frames(number.frames),
        layout.format_ours(line, digits),
        layout.format_seeds(line),
        format_frames(describe.mean_frames(whole)),
      ]
    )
  heading = f'**{TITLES[paper]}, {item}**, {statistic}; our tests: {test}.'
  return f'{heading}\n\n{markdown.table(header, body, range(4, len(header)))}'


def _code(command):
  return f'`{command}`' if command.startswith('python') else command


def _link(name):
  return f'[{name}](experiments/results/{name})'


def _rows(paper, item):
  """Returns the published rows of an item that runs.csv connects."""
  return dict.fromkeys(
    line.row
    for line in comparison.read_connections()
    if (line.paper, line.item) == (paper, item)
  )


def _flag_files(paper, item):
  """Returns the flag files that begin as an item is called."""
  start = re.sub(r'\W+', '_', item.lower().replace('.', ''))
  found = []
  for folder in _FLAG_FOLDERS.get(paper, (paper,)):
    pattern = f'{folder}/{start}_*.flags'
    paths = glob.glob(os.path.join('experiments', pattern))
    if len(paths) == 1:
      found.append(f'{folder}/{os.path.basename(paths[0])}')
    elif paths:
      found.append(f'{len(paths)}: {pattern}')
  return found


def _published_frames():
  """Returns by recorded row the frames of the published run beside it."""
  frames = {}
  for line in comparison.read_connections():
    table = published.select(line.paper, line.item)
    table = table[(table['row'] == line.row) & (table['task'] == line.task)]
    known = table['frames'].dropna()
    if len(known):
      frames[line.results] = int(known.iloc[0])
  return frames


def _extrapolate(frames, speed):
  hours = frames / speed / 3600
  text = f'{hours:,.0f} h' if hours < 48 else f'{hours / 24:,.0f} days'
  return f'{format_frames(frames)}: {text}'

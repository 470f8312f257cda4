"""Writes one HTML page about a set of runs, to be read offline in a browser.

    python -m experiments.report FOLDER... --out=FILE.html

Folders and labels are as in experiments.plots. The page holds everything: the
curves (which can be hovered and zoomed) with plotly.js, tables beside published
values, configuration, hardware, and videos that lie in the logdirs up to
--max_video_mib. It loads nothing; its content security policy says so.

Runs of different protocols get sections of their own, so that no table or
figure mixes them.
"""

import argparse
import base64
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from core.errors import UserError
from core.files import atomic_file
from experiments.report import figures, tables
from experiments.runs import grouping, learning_curves, scoring
from experiments.runs.grouping import Agents, NotComparable

MAX_VIDEO_MIB = 16
TEMPLATE = 'template.html'
ENDINGS = ('.html', '.htm')


def write_report(
  agents: Agents,
  out: str,
  title: str = 'Training runs',
  references: str = '',
  max_video_mib: float = MAX_VIDEO_MIB,
) -> None:
  """Writes the page, whole or not at all.

  Args:
    agents: from `grouping.read_agents`.
    out: path of the page.
    title: its heading.
    references: CSV file of further references, or ''.
    max_video_mib: videos embedded altogether; others are linked.

  Raises:
    UserError: a run is malformed, or the page cannot be written.
  """
  videos = tables.videos(agents, out, int(max_video_mib * 2**20))
  for video in videos:
    content = video.pop('content')
    video['base64'] = content and base64.b64encode(content).decode('ascii')
  colors = figures.color_by_label(agents)
  page = _render(
    title=title,
    runs=tables.run_rows(agents),
    sections=[
      _make_section(of_protocol, references, colors)
      for of_protocol in split_by_protocol(agents)
    ],
    differences=grouping.protocol_differences(grouping.runs_of(agents)),
    videos=videos,
    colors=colors,
  )
  with atomic_file(out) as file:
    file.write(page.encode())


def split_by_protocol(agents: Agents) -> list[Agents]:
  """Parts agents whose scores do not compare.

  Args:
    agents: some.

  Returns:
    Groups in which the protocols of all runs are the same. An agent whose runs
    differ among themselves is in several.
  """
  groups: dict[str, Agents] = {}
  for label, runs in agents.items():
    for run in runs:
      group = groups.setdefault(json.dumps(run.protocol, sort_keys=True), {})
      group.setdefault(label, []).append(run)
  return list(groups.values())


def _make_section(agents, path, colors) -> dict[str, Any]:
  """Returns what the template shows of runs of one protocol."""
  runs = grouping.runs_of(agents)
  section: dict[str, Any] = dict(
    agents=list(agents), window='', panels=[], scores=None, problems=[]
  )
  tasks = []
  try:
    curves = learning_curves.make_curves(agents, references=path)
    tasks = list(curves.tasks)
    section['window'] = curves.window
    section['panels'] = figures.curve_panels(curves, colors)
  except NotComparable as error:
    section['problems'].append(f'No curves: {error}.')
  try:
    complete = grouping.complete_runs(agents)
    for label in [label for label, of in complete.items() if not of]:
      section['problems'].append(f'{label} has no complete run and no scores.')
      del complete[label]
    if complete:
      scores = scoring.read_scores(complete, path)
      tasks = scores.tasks
      section['scores'] = tables.score_table(scores, runs)
  except NotComparable as error:
    section['problems'].append(f'No table of scores: {error}.')
  names = tables.papers(runs)
  section['published'] = tables.published_aggregates(names, tasks)
  section['statistics'] = figures.statistics_panels(agents, colors)
  section['parts'] = {
    part: tables.config_rows(agents, part)
    for part in ('protocol', 'config', 'versions')
  }
  return section


def _render(**content: Any) -> str:
  try:
    import jinja2
    from plotly import offline
  except ImportError as error:
    raise UserError(
      f'the report needs plotly and jinja2 ({error}): pip install plotly jinja2'
    ) from error
  # What the template marks as safe is plotly's script and its JSON, in which
  # plotly escapes <, > and /.
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template(TEMPLATE).render(
    plotly_js=offline.get_plotlyjs(), **content
  )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
  """Reads the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.report', description='Write a page about runs.'
  )
  parser.add_argument(
    'folders', nargs='+', metavar='[LABEL=]FOLDER', help='runs or agents'
  )
  parser.add_argument('--out', required=True, help='HTML file to write')
  parser.add_argument('--title', default='Training runs')
  parser.add_argument(
    '--references', default='', help='CSV: task, random, human (0 and 100 %%)'
  )
  parser.add_argument(
    '--max_video_mib',
    type=float,
    default=MAX_VIDEO_MIB,
    help='embed at most that much; link other videos',
  )
  return parser.parse_args(arguments)


def main() -> None:
  """Writes the page that the command line names."""
  options = parse()
  try:
    if not options.out.endswith(ENDINGS):
      raise UserError(
        f'--out={options.out}: the name of a page ends in {", ".join(ENDINGS)}'
      )
    agents = grouping.read_agents(options.folders)
    write_report(
      agents,
      options.out,
      options.title,
      options.references,
      options.max_video_mib,
    )
  except UserError as error:
    sys.exit(f'error: {error}')
  print(options.out)


if __name__ == '__main__':
  main()

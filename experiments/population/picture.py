"""The picture of a population: who descends from whom, and with what."""

import os
from typing import Any

import numpy as np

from core.errors import UserError
from experiments.plots import drawing
from experiments.population import lineage, settings, state
from experiments.runs import reader, scoring
from experiments.runs.wording import plural

_BEST, _OTHERS = 'C0', '0.72'
_MAX_BARS = 57


def draw(population: settings.Population, path: str) -> None:
  """Draws lineages, fitness, hyperparameters and the best member's test.

  The best member's ancestry, from the first slice to its last, is coloured.

  Args:
    population: that has begun.
    path: of the picture.

  Raises:
    UserError: it has no finished slice, or the picture cannot be written.
  """
  events = state.read_events(population.logdir)
  slices = lineage.slices_of(events)
  if not slices:
    raise UserError(f'{population.logdir}: no slice has ended yet')
  best = _best_slice(slices, events)
  path_of_best = lineage.ancestry(slices, best['slice'])
  names = list(population.rule.ranges)
  tested = _tested(population, best['member'])
  pyplot = drawing.open_pyplot()
  num_panels = 2 + len(names) + bool(tested)
  columns = 2 if num_panels <= 4 else 3
  rows = -(-num_panels // columns)
  figure, axes = pyplot.subplots(
    rows, columns, figsize=(5.2 * columns, 3.7 * rows), squeeze=False
  )
  for ax in axes.flat[num_panels:]:
    ax.remove()
  panels = iter(axes.flat)
  unit, unit_name = _unit(population.total_frames)
  _draw_lineages(next(panels), slices, path_of_best, unit)
  _draw_values(next(panels), slices, path_of_best, unit, 'fitness', _fitness)
  for name in names:
    ax = next(panels)
    _draw_values(
      ax,
      slices,
      path_of_best,
      unit,
      name,
      lambda e, name=name: e['values'][name],
    )
    _scale_axis(ax, population.rule.ranges[name], slices, name)
  for ax in axes.flat[: 2 + len(names)]:
    ax.set_xlabel(f'environment frames of a member{unit_name}')
  if tested:
    _draw_test(next(panels), population, tested)
  num_copies = sum(e['event'] == 'evolve' and e['is_copied'] for e in events)
  figure.suptitle(
    f'{population.name}: {population.num_members} members, '
    f'{plural(len(slices), "slice")}, {num_copies} copies; '
    f'coloured: what member {best["member"]}, the best, descends from'
  )
  figure.tight_layout()
  drawing.save(figure, path)


def _best_slice(slices, events):
  """Returns the last slice of the best member, or of the best one so far."""
  last = {e['member']: e for e in slices.values()}
  ends = [e['best'] for e in events if e['event'] == 'end']
  if ends:
    return last[ends[-1]]
  return max(last.values(), key=_fitness)


def _fitness(event):
  return float('-inf') if event['fitness'] is None else event['fitness']


def _unit(frames):
  for unit, name in ((1e9, ' (billions)'), (1e6, ' (millions)')):
    if frames >= unit:
      return unit, name
  return (1e3, ' (thousands)') if frames >= 1e4 else (1.0, '')


def _draw_lineages(ax, slices, best, unit):
  """Draws a line per slice at its member's height, and one to each copy."""
  chosen = {e['slice'] for e in best}
  for event in slices.values():
    is_best = event['slice'] in chosen
    style = (
      dict(color=_BEST, lw=3, zorder=3) if is_best else dict(color=_OTHERS)
    )
    first, last = event['first_frame'] / unit, event['env_frames'] / unit
    ax.plot([first, last], [event['member']] * 2, **{'lw': 2, **style})
    ax.plot(last, event['member'], '|', ms=7, **style)
    parent = slices.get(event['parent'])
    if parent and parent['member'] != event['member']:
      ax.annotate(
        '',
        xy=(first, event['member']),
        xytext=(first, parent['member']),
        arrowprops=dict(
          arrowstyle='-|>',
          color=_BEST if is_best else '0.45',
          lw=1.6 if is_best else 0.9,
          shrinkA=0,
          shrinkB=0,
        ),
        zorder=4 if is_best else 2,
      )
  ax.set_ylabel('member')
  ax.set_title('who descends from whom (arrows: copies)')
  ax.yaxis.get_major_locator().set_params(integer=True)
  ax.invert_yaxis()


def _draw_values(ax, slices, best, unit, title, value_of):
  """Draws a value per slice: thin for every slice, bold for the best's."""
  for event in slices.values():
    parent = slices.get(event['parent'])
    if parent and np.isfinite([value_of(parent), value_of(event)]).all():
      x = [parent['env_frames'] / unit, event['env_frames'] / unit]
      ax.plot(x, [value_of(parent), value_of(event)], color=_OTHERS, lw=1)
  for events, style in (
    (slices.values(), dict(color=_OTHERS, ms=3)),
    (best, dict(color=_BEST, ms=5, lw=2.4, ls='-', zorder=3)),
  ):
    ax.plot(
      [e['env_frames'] / unit for e in events],
      [value_of(e) for e in events],
      **{'marker': 'o', 'ls': '', **style},
    )
  ax.set_title(title)


def _scale_axis(ax, of, slices, name):
  """Marks the range that a hyperparameter began in."""
  values = [e['values'][name] for e in slices.values()]
  if of.kind != 'uniform' and min(values) > 0:
    ax.set_yscale('log')
  low, high = min(of.values), max(of.values)
  ax.axhspan(low, high, color=_BEST, alpha=0.06, lw=0)
  ax.set_title(f'{name} (shaded: where it began)')


def _tested(population, member) -> dict[str, Any]:
  """Returns the test returns of a member by task; {} if it was not tested."""
  folder = population.member_logdir(member)
  if not os.path.isdir(folder):
    return {}
  table = reader.read_run(folder).evaluation
  return {
    task: rows['return'].to_numpy(np.float64)
    for task, rows in table.groupby('task', sort=False)
  }


def _draw_test(ax, population, tested):
  """Draws the best member's score per task, with its standard error."""
  references = population.references
  tasks = [task for task in references if task in tested][:_MAX_BARS]
  means = [
    scoring.normalize(tested[task].mean(), references[task]) for task in tasks
  ]
  errors = [
    scoring.standard_error(scoring.normalize(tested[task], references[task]))
    for task in tasks
  ]
  ax.barh(range(len(tasks)), means, xerr=np.nan_to_num(errors), color=_BEST)
  size = 8 if len(tasks) <= 20 else 4
  ax.set_yticks(
    range(len(tasks)),
    [task.rpartition(':')[2] for task in tasks],
    fontsize=size,
  )
  ax.invert_yaxis()
  ax.axvline(0, color='grey', lw=1)
  ax.set_xlabel(scoring.score_name(references))
  ax.set_title("the best member's test (mean ± standard error)")

"""Prints the reports of `gpu_check.py` as a table in Markdown.

python -m experiments.speed.table REPORT.json [REPORT.json ...]

What is measured in a later report stands for what an earlier one says of the
same device and learner.
"""

import argparse
import glob
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from core.errors import UserError
from experiments.tables import markdown

HEADER = (
  *('device', 'learner', 'convolutions'),
  *('TensorFlow, frames/s', 'JAX, frames/s', 'TensorFlow : JAX'),
  *('TensorFlow, of peak', 'JAX, of peak'),
  *('TensorFlow, MiB', 'JAX, MiB'),
)


def make_table(reports: Sequence[dict[str, Any]]) -> str:
  """Return one table of all learners in the reports, in Markdown."""
  entries = {
    (report['device'], entry['name']): entry
    for report in reports
    for entry in report['programs']
  }
  body = [_row(device, entry) for (device, _), entry in entries.items()]
  return markdown.table(HEADER, body, numbers=range(3, len(HEADER)))


def recorded_table() -> str:
  """Return the table of the reports in this repository."""
  folder = os.path.join('experiments', 'speed', 'reports')
  paths = sorted(glob.glob(os.path.join(folder, '*.json')))
  return make_table([read(path) for path in paths])


def _row(device: str, entry: dict[str, Any]) -> list[str]:
  both = [entry.get(kind, {}) for kind in ('tensorflow', 'jax')]
  precision = entry['precision']
  return [
    device,
    entry['name'].removesuffix(f'_{precision}').replace('_', ' '),
    precision,
    *(_cell(result, 'env_frames_per_sec', '{:,.0f}') for result in both),
    _cell(entry, 'tensorflow_to_jax', '{:.2f}'),
    *(_cell(result, 'share_of_peak', '{:.1%}') for result in both),
    *(_cell(result, 'memory_bytes', '{:,.0f}', 2**20) for result in both),
  ]


def _cell(result, key, form, unit=1):
  """Return a number; what happened instead; or nothing, if it has none."""
  if result.get(key) is not None:
    return form.format(result[key] / unit)
  if key == 'env_frames_per_sec':
    return next((k for k in ('failed', 'skipped') if k in result), '')
  return ''


def read(path: str) -> dict[str, Any]:
  """Return a report.

  Raises:
    UserError: there is none at this path.
  """
  try:
    with open(path, encoding='utf-8') as file:
      report = json.load(file)
    _ = report['device'], report['programs']
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  except (ValueError, LookupError, TypeError) as error:
    raise UserError(f'{path} is no report of gpu_check.py') from error
  return report


def main(argv: list[str]) -> None:
  """Print the table of the reports that `argv` names."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('reports', nargs='+', help='what gpu_check.py wrote')
  print(make_table([read(path) for path in parser.parse_args(argv).reports]))


if __name__ == '__main__':
  try:
    main(sys.argv[1:])
  except UserError as failure:
    sys.exit(f'error: {failure}')

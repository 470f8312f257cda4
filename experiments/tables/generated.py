"""The generated texts of README.md and the papers' READMEs."""

import os
from collections.abc import Callable
from typing import NamedTuple

from experiments.popart import (
  atari_unclipped_small,
  multi_task_catch,
  tuned_catch,
)
from experiments.speed import table as speed_table
from experiments.tables import markdown, summaries


class Generated(NamedTuple):
  """A text that stands between markers in a README.

  Attributes:
    path: of the file.
    name: of the markers.
    make: returns the text.
  """

  path: str
  name: str
  make: Callable[[], str]


def list_texts() -> list[Generated]:
  """Lists every generated text."""
  own = os.path.join('experiments', 'README.md')
  texts = [
    Generated('README.md', 'results', summaries.results_text),
    Generated(own, 'items', summaries.items_text),
    Generated(own, 'compute', summaries.compute_text),
    Generated('README.md', 'gpu', speed_table.recorded_table),
  ]
  for script in (multi_task_catch, tuned_catch, atari_unclipped_small):
    texts.append(Generated(script.README, script.NAME, script.make_table))
  return texts


def write_all() -> list[str]:
  """Writes every generated text; returns the paths of the files.

  Raises:
    UserError: a file has no markers, or a result is malformed; then nothing was
      written.
  """
  texts = [(path, name, make()) for path, name, make in list_texts()]
  markdown.write_all(texts)
  return list(dict.fromkeys(path for path, _, _ in texts))

"""Tables in Markdown, and the markers in a file between which they stand."""

from collections.abc import Sequence

from core.errors import UserError


def table(
  header: Sequence[str], body: Sequence[Sequence[str]], num_words: int
) -> str:
  """Returns a Markdown table.

  Args:
    header: names of the columns.
    body: cells by row; a | in a cell is escaped.
    num_words: columns set to the left; the others are set to the right.
  """
  ruler = ['---'] * num_words + ['---:'] * (len(header) - num_words)
  lines = [header, ruler, *body]
  escaped = [[cell.replace('|', '\\|') for cell in line] for line in lines]
  return '\n'.join(f'| {" | ".join(line)} |' for line in escaped)


def markers(name: str) -> tuple[str, str]:
  """Returns the comments that stand before and after a generated text."""
  return f'<!-- {name}: begin -->', f'<!-- {name}: end -->'


def read(path: str, begin: str, end: str) -> str:
  """Returns the text between two markers of a file.

  Args:
    path: of the file.
    begin: marker before the text.
    end: marker after it.

  Raises:
    UserError: a marker is missing.
  """
  return _split(path, begin, end)[1].strip()


def write(path: str, text: str, begin: str, end: str) -> None:
  """Replaces the text between two markers of a file.

  Args:
    path: of the file.
    text: in Markdown.
    begin: marker before it.
    end: marker after it.

  Raises:
    UserError: a marker is missing.
  """
  before, _, after = _split(path, begin, end)
  with open(path, 'w', encoding='utf-8') as file:
    file.write(f'{before}{begin}\n{text}\n{end}{after}')


def _split(path, begin, end):
  """Returns what stands before, between and after the markers."""
  try:
    with open(path, encoding='utf-8') as file:
      text = file.read()
  except OSError as error:
    raise UserError(f'cannot read {path}: {error.strerror}') from error
  before, found_begin, rest = text.partition(begin)
  between, found_end, after = rest.partition(end)
  if not (found_begin and found_end):
    raise UserError(f'{path} has no markers {begin} and {end}')
  return before, between, after

"""Tables in Markdown, and their places in a file.

A generated text `name` stands between the lines <!-- name: begin --> and
<!-- name: end -->.
"""

from collections.abc import Container, Sequence

from core.errors import UserError
from core.files import atomic_file, refuse_pipe


def table(
  header: Sequence[str],
  body: Sequence[Sequence[str]],
  numbers: Container[int] = (),
) -> str:
  """Returns a Markdown table.

  Args:
    header: names of the columns.
    body: cells by row; a | in a cell is escaped.
    numbers: indices of the columns that are set to the right.
  """
  ruler = ['---:' if i in numbers else '---' for i in range(len(header))]
  lines = [header, ruler, *body]
  escaped = [[cell.replace('|', '\\|') for cell in line] for line in lines]
  return '\n'.join(f'| {" | ".join(line)} |' for line in escaped)


def read(path: str, name: str) -> str:
  """Returns a generated text as it stands in a file.

  Args:
    path: of the file.
    name: of the text.

  Raises:
    UserError: a marker is missing.
  """
  return _split(path, _read(path), name)[1].strip()


def write(path: str, name: str, text: str) -> None:
  """Replaces a generated text in a file.

  Args:
    path: of the file.
    name: of the text.
    text: in Markdown.

  Raises:
    UserError: a marker is missing, or the file cannot be written.
  """
  write_all([(path, name, text)])


def write_all(texts: Sequence[tuple[str, str, str]]) -> None:
  """Replaces generated texts in several files, each whole or not at all.

  Args:
    texts: path, name and text, as for `write`.

  Raises:
    UserError: a marker is missing, and then nothing was written; or a file
      cannot be written.
  """
  contents: dict[str, str] = {}
  for path, name, text in texts:
    content = contents.get(path) or _read(path)
    before, _, after = _split(path, content, name)
    contents[path] = f'{before}\n{text}\n{after}'
  for path, content in contents.items():
    with atomic_file(path) as file:
      file.write(content.encode())


def _read(path):
  refuse_pipe(path)
  try:
    with open(path, encoding='utf-8', newline='') as file:
      return file.read()
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(f'cannot read {path}: {reason}') from error


def _split(path, content, name):
  """Returns what stands up to, between and from the markers on."""
  begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
  before, found_begin, rest = content.partition(begin)
  between, found_end, after = rest.partition(end)
  if not (found_begin and found_end):
    raise UserError(f'{path} has no markers {begin} and {end}')
  return before + begin, between, end + after

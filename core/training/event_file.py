"""Events for TensorBoard: one file per start of a run."""

import os
import re
import socket
import time
from collections.abc import Mapping

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

_NAME = re.compile(r'events\.out\.tfevents\.(\d{10})\.')


class EventFile:
  """The file of one start, which TensorBoard reads after all earlier ones.

  TensorBoard reads the files of a folder in the order of their names, which
  begin with a time in seconds, and does not go back. So the name is later than
  the others' even where the clock was set back since.
  """

  def __init__(self, logdir: str, first_step: int):
    """Creates the file.

    Args:
      logdir: a folder.
      first_step: of earlier files' points, TensorBoard forgets those from this
        step on.

    Raises:
      OSError: it cannot be written.
    """
    earlier = filter(None, map(_NAME.match, os.listdir(logdir)))
    secs = max([int(time.time()), *(int(match[1]) + 1 for match in earlier)])
    name = f'events.out.tfevents.{secs:010d}.{socket.gethostname()}.'
    path = os.path.join(logdir, f'{name}{os.getpid()}.0')
    self._writer = RecordWriter(open(path, 'xb'))  # noqa: SIM115
    self._add(0, file_version='brain.Event:2')
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._add(first_step, session_log=start)
    self.flush()

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Adds points.

    Args:
      step: where they are shown.
      values: by tag.
    """
    value = [
      summary_pb2.Summary.Value(tag=tag, simple_value=float(scalar))
      for tag, scalar in values.items()
    ]
    self._add(step, summary=summary_pb2.Summary(value=value))

  def flush(self) -> None:
    """Lets others read what was added."""
    self._writer.flush()

  def close(self) -> None:
    """Writes what is left and closes the file."""
    self._writer.close()

  def _add(self, step, **content):
    event = event_pb2.Event(wall_time=time.time(), step=int(step), **content)
    self._writer.write(event.SerializeToString())

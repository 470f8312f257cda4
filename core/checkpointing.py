"""Checkpoints that survive a kill, a full disk and a damaged file.

A checkpoint is a NumPy .npz archive: arrays by name, one JSON text named
`metadata`, and its checksum. Nothing in it can carry code: pickled objects are
neither written nor read.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import tree

from core.errors import UserError
from core.files import atomic_file

_NAME = re.compile(r'checkpoint_(\d{15,})\.npz')
_METADATA = 'metadata'
_CHECKSUM = 'metadata_sha256'  # Absent in older ones.

Restored = tuple[dict[str, np.ndarray], dict[str, Any], str]


def directory_of(logdir: str) -> str:
  """Returns the folder of a run's checkpoints."""
  return os.path.join(logdir, 'checkpoints')


def save(
  directory: str,
  env_frames: int,
  arrays: Mapping[str, np.ndarray],
  metadata: Mapping[str, Any],
  keep: int,
) -> str:
  """Write a checkpoint, then drop all but the newest `keep`.

  Args:
    directory: folder of checkpoints; created if need be.
    env_frames: frame counter; it names and orders the files.
    arrays: numbers, booleans or text by name. Raw bytes go in as uint8, since
      NumPy's byte strings lose trailing zeros.
    metadata: what JSON can hold.
    keep: number of files to keep, at least 1.

  Returns:
    The path of the file; one of the same name is replaced.

  Raises:
    UserError: the disk is full or the folder cannot be written. Earlier
      checkpoints are then untouched.
  """
  for name in (_METADATA, _CHECKSUM):
    if name in arrays:
      raise ValueError(f'{name} is not free for an array')
  text = json.dumps(metadata)
  path = os.path.join(directory, f'checkpoint_{env_frames:015d}.npz')
  _remove_temporary_files(directory)
  with atomic_file(path) as file, zipfile.ZipFile(file, 'w') as archive:
    for name, array in arrays.items():
      _write_array(archive, name, np.asarray(array))
    _write_array(archive, _METADATA, np.asarray(text))
    _write_array(archive, _CHECKSUM, np.asarray(_checksum(text)))
  # A file ahead of the counter is damaged, else the run had resumed from it. It
  # must not push out the readable ones behind it.
  older = [p for frames, p in _find(directory) if frames < env_frames]
  for old in older[: max(0, len(older) - (keep - 1))]:
    try:
      os.remove(old)
    except OSError as error:
      print(f'warning: cannot remove {old}: {error.strerror}', flush=True)
  return path


def restore_latest(
  directory: str,
  warn: Callable[[str], None],
  check: Callable[[dict[str, Any]], None] = lambda metadata: None,
) -> Restored | None:
  """Return the newest readable checkpoint.

  Args:
    directory: folder of checkpoints; it may be missing.
    warn: called with one line for each damaged file that was passed over.
    check: raises an exception if metadata is not as it should be.

  Returns:
    (arrays by name, metadata, path), or None where there is no checkpoint.

  Raises:
    UserError: there are checkpoints, but none can be read; what has the
      folder's name is none; or what has a checkpoint's name is no file.
  """
  # Such as a link to a disk that is not mounted: nothing may begin anew.
  if os.path.lexists(directory) and not os.path.isdir(directory):
    raise UserError(f'{directory} is not a folder: move it away')
  paths = [path for _, path in reversed(_find(directory))]
  for path in paths:
    # A folder could not be replaced when training comes to its frame again.
    if not os.path.isfile(path):
      raise UserError(f'{path} is not a file: move it away')
  reasons = []
  for path, following in itertools.zip_longest(paths, paths[1:]):
    try:
      arrays, metadata = read(path)
      check(metadata)
      return arrays, metadata, path
    # Reading raises anything, depending on the byte that is wrong.
    except Exception as error:
      reason = ' '.join(str(error).split()) or type(error).__name__
      reasons.append(f'{os.path.basename(path)}: {reason}')
      if following:
        warn(f'checkpoint {path} is damaged ({reason}); using {following}')
  if reasons:
    raise UserError(
      f'no checkpoint in {directory} can be read ({"; ".join(reasons)}); '
      'move them away to start anew'
    )
  return None


def latest_metadata(directory: str) -> tuple[dict[str, Any], str] | None:
  """Return what the newest checkpoint says of itself; its arrays are not read.

  Args:
    directory: folder of checkpoints; it may be missing.

  Returns:
    (metadata, path) of the newest one whose metadata can be read; None if there
    is none.
  """
  for _, path in reversed(_find(directory)):
    # Reading raises anything, depending on the byte that is wrong.
    with contextlib.suppress(Exception):
      return read_metadata(path), path
  return None


def read(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Return the arrays and the metadata of a checkpoint.

  Raises:
    Exception: of any kind, if the file is damaged.
  """
  arrays = {}
  with zipfile.ZipFile(path) as archive:
    for entry in archive.namelist():
      # Whole entries: the checksum is compared at their very end only.
      data = io.BytesIO(archive.read(entry))
      name = entry.removesuffix('.npy')
      arrays[name] = np.lib.format.read_array(data, allow_pickle=False)
  if _METADATA not in arrays:
    raise ValueError('it has no metadata')
  text = arrays.pop(_METADATA).item()
  metadata = json.loads(text)
  if not isinstance(metadata, dict):
    raise ValueError('its metadata is not an object')
  checksum = arrays.pop(_CHECKSUM, None)
  if checksum is not None and checksum.item() != _checksum(text):
    raise ValueError('its metadata does not fit its checksum')
  return arrays, metadata


def read_metadata(path: str) -> dict[str, Any]:
  """Return the metadata of a checkpoint.

  Raises:
    Exception: of any kind, if the file is damaged.
  """
  with zipfile.ZipFile(path) as archive:
    texts = {
      name: _read_array(archive, name) for name in (_METADATA, _CHECKSUM)
    }
  text = texts[_METADATA].item()
  if texts[_CHECKSUM].item() != _checksum(text):
    raise ValueError('its metadata does not fit its checksum')
  return json.loads(text)


def check_config(
  saved: Mapping[str, Any],
  current: Mapping[str, Any],
  ignore: Collection[str] = (),
) -> None:
  """Refuse to go on with a config other than the checkpoint's.

  Args:
    saved: the config in the checkpoint's metadata.
    current: the config of this run, as a dict.
    ignore: fields that may change over a resume.

  Raises:
    UserError: naming every field that differs, with both values.
  """
  saved, current = dict(saved), json.loads(json.dumps(current))
  names = [n for n in (*current, *(saved.keys() - current)) if n not in ignore]
  differing = [
    f'{name} was {saved.get(name)}, is {current.get(name)}'
    for name in names
    # Told apart from a field whose value is None.
    if (name in saved, saved.get(name)) != (name in current, current.get(name))
  ]
  if differing:
    raise UserError(
      f'the checkpoint has another config: {", ".join(differing)}; '
      'give the old values or another --logdir'
    )


def flatten(structure: Any) -> dict[str, np.ndarray]:
  """Return the leaves of nested structures by their path, as 'a/b/0'."""
  flat = {}
  for path, leaf in tree.flatten_with_path(structure):
    name = '/'.join(str(key) for key in path)
    if name in flat:
      raise ValueError(f'two leaves are named {name}')
    flat[name] = np.asarray(leaf)
  return flat


def unflatten(like: Any, flat: Mapping[str, np.ndarray]) -> Any:
  """Return a structure like `like` with the arrays that `flatten` named.

  Args:
    like: nested NamedTuples, dicts, lists and tuples of arrays.
    flat: arrays by path; names that `like` has not are left alone.

  Raises:
    UserError: an array is missing or has another shape or dtype.
  """
  leaves = []
  for name, wanted in flatten(like).items():
    if name not in flat:
      raise UserError(f'the checkpoint has no array {name}')
    array = flat[name]
    for kind in ('shape', 'dtype'):
      found, expected = getattr(array, kind), getattr(wanted, kind)
      if found != expected:
        raise UserError(
          f'array {name} of the checkpoint has {kind} {found}, not {expected}'
        )
    leaves.append(array)
  return tree.unflatten_as(like, leaves)


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray):
  # np.savez takes names as keyword arguments, so `file` could not be one.
  if array.dtype.kind not in 'biufcU':
    raise ValueError(f'array {name} of {array.dtype} would not read back')
  with archive.open(name + '.npy', 'w', force_zip64=True) as entry:
    np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  data = io.BytesIO(archive.read(name + '.npy'))
  return np.lib.format.read_array(data, allow_pickle=False)


def _checksum(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def _find(directory: str) -> list[tuple[int, str]]:
  """Return (env_frames, path) of the checkpoints, oldest first."""
  names = os.listdir(directory) if os.path.isdir(directory) else []
  matches = [match for name in names if (match := _NAME.fullmatch(name))]
  return sorted((int(m[1]), os.path.join(directory, m[0])) for m in matches)


def _remove_temporary_files(directory: str) -> None:
  """Remove what a killed run left half written."""
  for name in os.listdir(directory) if os.path.isdir(directory) else []:
    if name.endswith('.npz.tmp') and _NAME.fullmatch(name[: -len('.tmp')]):
      with contextlib.suppress(OSError):  # It is tidied, not needed.
        os.remove(os.path.join(directory, name))

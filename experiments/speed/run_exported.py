"""Checks and times an exported learner; needs NumPy and jaxlib alone.

    python experiments/speed/run_exported.py FOLDER [--repeats=20]

`export.py` wrote FOLDER: the compiled update as StableHLO text, how to make its
inputs again from a seed, and what TensorFlow's outputs were. They are compared
before anything is timed. With jax and one of its plugins the program runs on
jax's first device, an accelerator if there is one; else on the CPU. Times go to
FOLDER/timing_<device>.json.
"""

import argparse
import gzip
import json
import os
import re
import statistics
import sys
import time
import types
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

OLDEST_JAXLIB = (0, 6, 2)
# float32: weights changed in their last bit alone move gradients of the deep
# network by up to 9e-4 (160 frames): rounding decides for some units on which
# side of a ReLU, or of a maximum, they are. bfloat16 finds gross errors only:
# gradients of convolutions sum millions of numbers that nearly cancel, and
# compilers round where they like. XLA on a CPU is off by up to 0.12 (deep with
# LSTM, 84 frames). Adding a bias before rounding instead of after it, as fused
# kernels do, moves the shallow network's gradients from 0.01 to 0.07.
TOLERANCES = {'float32': 5e-3, 'bfloat16': 0.5}
NUM_SAMPLES = 64
PROGRAMS_FILE = 'programs.json'  # Names of the exports beside it, in order.

_BAD = (ValueError, LookupError, TypeError)


class Failure(Exception):
  """What the user can mend, or must know, in one line."""


class Export(NamedTuple):
  """The manifest, the StableHLO text and its arguments."""

  manifest: dict[str, Any]
  program: str
  inputs: list[np.ndarray]


def load_export(folder: str) -> Export:
  """Read what export.py wrote and make the inputs again.

  Raises:
    Failure: a file is missing, damaged or not as the manifest describes it.
  """
  try:
    with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
      manifest = json.load(file)
    with gzip.open(os.path.join(folder, 'learner.mlir.gz')) as file:
      program = file.read().decode()
    inputs = make_inputs(manifest['inputs'], manifest['seed'])
    for described, array in zip(manifest['inputs'], inputs, strict=True):
      if zlib.crc32(array.tobytes()) != described['crc32']:
        raise ValueError(f'{described["name"]} is not made as it was')
    _ = manifest['outputs'], manifest['env_frames_per_update']
  except gzip.BadGzipFile as error:
    raise Failure(f'{folder} is damaged: {error}') from error
  except OSError as error:
    raise Failure(f'cannot read {error.filename}: {error.strerror}') from error
  except (*_BAD, EOFError, zlib.error) as error:
    raise Failure(f'{folder} is damaged: {error!r}') from error
  return Export(manifest, program, inputs)


def load_names(folder: str) -> list[str]:
  """Return the names of the exports in the folder, in their order.

  Raises:
    Failure: export_all.py did not write, or not finish, this folder.
  """
  path = os.path.join(folder, PROGRAMS_FILE)
  try:
    with open(path, encoding='utf-8') as file:
      return list(map(str, json.load(file)))
  except OSError as error:
    raise Failure(f'cannot read {path}: {error.strerror}') from error
  except _BAD as error:
    raise Failure(f'{path} is damaged: {error!r}') from error


def make_inputs(
  descriptions: Sequence[dict[str, Any]], seed: int
) -> list[np.ndarray]:
  """Make arrays from a seed, the same on every machine.

  Args:
    descriptions: per array its 'name', 'shape', 'dtype' and 'recipe': a 'kind'
      and what that needs; see `_fill`.
    seed: an array's numbers come from it and the array's name.

  Returns:
    The arrays.
  """
  arrays = []
  for described in descriptions:
    name = zlib.crc32(described['name'].encode())
    rng = np.random.default_rng([seed, name])
    dtype, shape = np.dtype(described['dtype']), tuple(described['shape'])
    array = _fill(rng, shape, dtype, described['recipe'])
    arrays.append(np.asarray(array, dtype, order='C'))
  return arrays


def _fill(rng, shape, dtype, recipe):
  """Return one array, by products and sums alone, which round alike anywhere.

  Normal numbers, or a tanh, would depend on the processor's vector functions.
  """
  kind = recipe['kind']
  if kind == 'constant':
    return np.full(shape, recipe['value'], dtype)
  if kind == 'bytes':
    data = rng.bytes(int(np.prod(shape)))
    return np.frombuffer(data, np.uint8).reshape(shape)
  if kind == 'words':  # One sentence a column, of 0 to L words.
    num_steps, batch_size, length = shape
    words = 1 + np.floor(1000 * rng.random((batch_size, length)))
    num_words = np.floor((length + 1) * rng.random(batch_size))
    words[np.arange(length) >= num_words[:, None]] = 0
    return np.tile(words.astype(dtype), (num_steps, 1, 1))
  if kind == 'uniform':
    low, high = dtype.type(recipe['low']), dtype.type(recipe['high'])
    return rng.random(shape, dtype) * (high - low) + low
  numbers = rng.random(shape)
  if kind == 'integers':
    return np.floor(numbers * recipe['end'])
  if kind == 'flags':
    return numbers < recipe['probability']
  if kind == 'signs':  # -1 and 1 alike often, else 0.
    p = recipe['probability'] / 2
    return (numbers < p).astype(dtype) - (numbers > 1 - p).astype(dtype)
  raise ValueError(f'unknown recipe {kind!r}')


def describe_output(
  output: np.ndarray, replaced: np.ndarray | None
) -> dict[str, Any]:
  """Return what is kept of an output: samples, sizes, and a sum of all of it.

  Args:
    output: a metric, or the new value of a variable.
    replaced: the value that it takes the place of, or None.
  """
  flat = np.asarray(output, np.float64).ravel()
  step = flat
  if replaced is not None:
    step = flat - np.asarray(replaced, np.float64).ravel()
  signs = np.where(np.random.default_rng(0).random(flat.size) < 0.5, -1.0, 1.0)
  places = np.linspace(0, flat.size - 1, min(flat.size, NUM_SAMPLES))
  return {
    'samples': flat[places.astype(np.int64)].tolist(),
    'largest': float(np.max(np.abs(flat))),
    'largest_step': float(np.max(np.abs(step))),
    'norm': float(np.linalg.norm(flat)),
    'step_norm': float(np.linalg.norm(step)),
    # Errors anywhere move this sum about as much as they move the norm.
    'signed_step_sum': float(np.sum(signs * step)),
  }


def relative_error(found: dict[str, Any], expected: dict[str, Any]) -> float:
  """Return the largest difference over what the update did to this output.

  A weight moves so little that its size would hide a wrong step: the largest
  step is the measure, or, where rounding would show, a hundredth of the size; a
  step to almost nothing (a moment's, without momentum) would hide what is left,
  so then the size. The sum over all of it is measured by the norm likewise.
  Where the output is part of something larger, that has set the scale.

  Args:
    found: from `describe_output`, of what the device computed.
    expected: likewise, of what TensorFlow computed.
  """
  tiny = float(np.finfo(np.float32).tiny)
  size, step = expected['largest'], expected['largest_step']
  largest = max(min(size, step), 0.01 * size, tiny)
  size, step = expected['norm'], expected['step_norm']
  norm = max(min(size, step), 0.01 * size, tiny)
  largest, norm = (expected.get('scale', x) for x in (largest, norm))
  samples = np.subtract(found['samples'], expected['samples'])
  errors = [
    np.max(np.abs(samples)) / largest,
    abs(found['step_norm'] - expected['step_norm']) / norm,
    abs(found['signed_step_sum'] - expected['signed_step_sum']) / norm,
  ]
  return float(np.max(errors))  # NaN stays NaN.


def open_device() -> tuple[Any, Callable[[np.ndarray], Any]]:
  """Return jax's first device, without jax the CPU, and what copies onto it."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # XLA's chatter.
  try:
    import jaxlib
    from jaxlib import xla_client
  except ImportError as error:
    raise Failure('jaxlib is missing: pip install jaxlib') from error
  version = re.findall(r'\d+', jaxlib.__version__)[:3]
  if tuple(map(int, version)) < OLDEST_JAXLIB:
    raise Failure(f'jaxlib {jaxlib.__version__} is old: pip install -U jaxlib')
  try:
    import jax
  except ImportError:
    device = xla_client.make_cpu_client().devices()[0]
    return device, _make_put(xla_client, device)
  jax.config.update('jax_enable_x64', True)  # PopArt's statistics.
  device = jax.devices()[0]
  return device, lambda array: jax.device_put(array, device)


def _make_put(xla_client, device) -> Callable[[np.ndarray], Any]:
  """Return what jax.device_put would do, from jaxlib's parts."""
  if hasattr(device.client, 'buffer_from_pyval'):
    return lambda array: device.client.buffer_from_pyval(array, device)

  # Later, jaxlib takes from jax what describes an array and its place.
  class Sharding(xla_client.SingleDeviceSharding):
    memory_kind = None

    def _to_xla_hlo_sharding(self, unused_num_dimensions):
      return xla_client.HloSharding.replicate()

  def put(array):
    kind = types.SimpleNamespace(
      shape=array.shape, dtype=array.dtype, ndim=array.ndim, weak_type=False
    )
    return xla_client.batched_device_put(
      kind, Sharding(device), [array], [device], enable_x64=True
    )

  return put


class Update:
  """An update on a device; each call takes over the last one's variables.

  As in training they change in place, and the batch stays on the device.

  Attributes:
    executable: jaxlib's.
  """

  def __init__(self, export: Export, program: str, device: Any, put: Callable):
    """Compiles `program`, which may stand in for the export's own."""
    from jaxlib import xla_client

    options = xla_client.CompileOptions()
    devices = xla_client.DeviceList((device,))
    self.executable = device.client.compile_and_load(program, devices, options)
    self._outputs = export.manifest['outputs']
    # Copies: an update may write where its inputs were.
    self._arguments = [put(array.copy()) for array in export.inputs]

  def __call__(self) -> list[Any]:
    """Updates once; returns the outputs when they are there."""
    results = self.executable.execute_sharded(self._arguments)
    outputs = results.disassemble_into_single_device_arrays()
    outputs = [output[0].block_until_ready() for output in outputs]
    for described, output in zip(self._outputs, outputs, strict=True):
      if described['replaces_input'] is not None:
        self._arguments[described['replaces_input']] = output
    return outputs


def find_errors(export: Export, outputs: Sequence[Any]) -> list[float]:
  """Return the relative error of each output of the first update."""
  errors = []
  for described, output in zip(
    export.manifest['outputs'], outputs, strict=True
  ):
    output, replaces = np.asarray(output), described['replaces_input']
    kind = list(output.shape), str(output.dtype)
    if kind != (described['shape'], described['dtype']):
      errors.append(float('inf'))
      continue
    replaced = None if replaces is None else export.inputs[replaces]
    found = describe_output(output, replaced)
    errors.append(relative_error(found, described['expected']))
  return errors


def check(export: Export, errors: Sequence[float], tolerance: float) -> None:
  """Print each output's relative error; raise Failure if one is off."""
  num_failed = 0
  for output, error in zip(export.manifest['outputs'], errors, strict=True):
    verdict = 'pass' if error <= tolerance else 'FAIL'  # NaN fails.
    num_failed += verdict == 'FAIL'
    print(f'{verdict} {error:8.1e} {output["name"]}')
  what = f'of {len(errors)} outputs are off by more than {tolerance:g}'
  if num_failed:
    raise Failure(f'{num_failed} {what}')
  print('None', what)


def full_precision(program: str) -> str:
  """Return the program without TF32, which TensorFlow's outputs never saw."""
  return re.sub(r'\bDEFAULT\b', 'HIGHEST', program)


def run(export: Export, args: argparse.Namespace) -> dict[str, Any]:
  """Check one update and time more; return what was measured."""
  device, put = open_device()
  variants = {'default_precision': export.program}
  if device.platform != 'cpu':
    full = full_precision(export.program)
    variants = {'full_precision': full, **variants}
  name = device.device_kind
  timing = {'device': name, 'num_updates': args.repeats}
  tolerance = args.tolerance or TOLERANCES[export.manifest['precision']]
  for variant, program in variants.items():
    update = Update(export, program, device, put)
    errors = find_errors(export, update())
    if variant == next(iter(variants)):
      check(export, errors, tolerance)
    secs = []
    for _ in range(args.repeats):
      start = time.perf_counter()
      update()
      secs.append(time.perf_counter() - start)
    median = statistics.median(secs)
    rate = export.manifest['env_frames_per_update'] / median
    timing[variant] = {'ms_per_update': 1000 * median}
    timing[variant]['env_frames_per_sec'] = rate
    timing[variant]['largest_error'] = max(errors)
    print(f'{name}, {variant}: {1000 * median:.2f} ms/update,', end=' ')
    print(f'{rate:,.0f} env frames/s, largest error {max(errors):.1e}')
  return timing


def main(argv: list[str]) -> None:
  """Check, then time, the learner in the folder that `argv` names."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', help='what export.py wrote')
  parser.add_argument('--repeats', type=int, default=20, help='updates to time')
  parser.add_argument(
    '--tolerance',
    type=float,
    help=f'allowed relative error; by default {TOLERANCES}, by precision',
  )
  args = parser.parse_args(argv)
  if args.repeats < 1:
    raise Failure('--repeats must be at least 1')
  export = load_export(args.folder)
  try:
    timing = run(export, args)
  except (RuntimeError, *_BAD) as error:
    raise Failure(f'{args.folder} does not run: {error}') from error
  name = re.sub(r'[^\w.-]+', '_', timing['device'])
  path = os.path.join(args.folder, f'timing_{name}.json')
  with open(path, 'w', encoding='utf-8') as file:
    file.write(json.dumps(timing, indent=1) + '\n')


def exit_with(main: Callable[[list[str]], None]) -> None:
  """Call `main`; end in one line on stderr if it fails."""
  try:
    main(sys.argv[1:])
  except Failure as failure:
    sys.exit('error: ' + str(failure).split('\n')[0])
  except OSError as failure:
    sys.exit(f'error: {failure}')


if __name__ == '__main__':
  exit_with(main)

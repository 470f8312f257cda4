"""Checks and times an exported learner; needs NumPy and jaxlib alone.

    python experiments/run_exported.py FOLDER [--repeats=20]

`export_learner.py` wrote FOLDER. Every output is compared with TensorFlow's
before anything is timed. With jax and one of its plugins the program runs on
jax's first device, an accelerator if there is one; else on the CPU. Times go to
FOLDER/timing_<device>.json.
"""

import argparse
import json
import os
import re
import statistics
import sys
import time
import types
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

OLDEST_JAXLIB = (0, 6, 2)
# Another order of summing differs by 1e-5; on an accelerator the order is free,
# and a few units more fall on the other side of a ReLU.
CPU_TOLERANCE = 1e-4
ACCELERATOR_TOLERANCE = 1e-3


class Failure(Exception):
  """What the user can mend, or must know, in one line."""


class Example(NamedTuple):
  """The manifest, the StableHLO text, its arguments and its results."""

  manifest: dict[str, Any]
  program: str
  inputs: list[np.ndarray]
  outputs: list[np.ndarray]


class Device(NamedTuple):
  """Name and platform; what compiles a text for it; what copies onto it."""

  name: str
  platform: str
  compile: Callable[[str], Any]
  put: Callable[[np.ndarray], Any]


class Run(NamedTuple):
  """The first update's relative errors, and the secs of those after it."""

  errors: list[float]
  update_secs: list[float]
  compile_secs: float


def load_example(folder: str) -> Example:
  """Read what export_learner wrote.

  Raises:
    Failure: a file is missing, damaged or not as the manifest describes it.
  """
  arrays = {'inputs': [], 'outputs': []}
  try:
    with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
      manifest = json.load(file)
    with open(os.path.join(folder, 'learner.mlir'), encoding='utf-8') as file:
      program = file.read()
    path = os.path.join(folder, 'example.npz')
    with np.load(path, allow_pickle=False) as example:
      for kind, loaded in arrays.items():
        for i, wanted in enumerate(manifest[kind]):
          array = example[f'{kind[:-1]}_{i:03}']
          found = (list(array.shape), str(array.dtype))
          if found != (wanted['shape'], wanted['dtype']):
            raise ValueError(f'{wanted["name"]} is {found}')
          loaded.append(array)
  except FileNotFoundError as error:
    raise Failure(f'{error.filename} is missing: not an export') from error
  except OSError as error:
    raise Failure(f'cannot read {folder}: {error.strerror}') from error
  except (
    *(ValueError, LookupError, TypeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
  ) as error:
    raise Failure(f'{folder} is damaged: {error}') from error
  return Example(manifest, program, **arrays)


def open_device() -> Device:
  """Return jax's first device or, without jax, the CPU.

  Raises:
    Failure: there is no jaxlib, or an old one.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # XLA's chatter.
  try:
    import jaxlib
    from jaxlib import xla_client
  except ImportError as error:
    raise Failure('jaxlib is missing: pip install jaxlib') from error
  version = tuple(int(n) for n in re.findall(r'\d+', jaxlib.__version__)[:3])
  if version < OLDEST_JAXLIB:
    raise Failure(f'jaxlib {jaxlib.__version__} is old: pip install -U jaxlib')
  try:
    import jax
  except ImportError:
    device = xla_client.make_cpu_client().devices()[0]
    put = _make_put(xla_client, device)
  else:
    device = jax.devices()[0]

    def put(array):
      return jax.device_put(array, device)

  def compile_program(program):
    devices = xla_client.DeviceList((device,))
    options = xla_client.CompileOptions()
    return device.client.compile_and_load(program, devices, options)

  return Device(device.device_kind, device.platform, compile_program, put)


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
    kind = {'shape': array.shape, 'dtype': array.dtype, 'ndim': array.ndim}
    kind = types.SimpleNamespace(**kind, weak_type=False)
    return xla_client.batched_device_put(
      kind, Sharding(device), [array], [device], enable_x64=False
    )

  return put


def relative_error(
  output: np.ndarray, expected: np.ndarray, replaced: np.ndarray | None
) -> float:
  """Return the largest difference over what the update did to this output.

  Args:
    output: what the device computed.
    expected: what TensorFlow computed.
    replaced: the value that the output takes the place of, or None. A weight
      moves so little that its size would hide a wrong step: the largest step is
      the measure, or, where rounding would show, a hundredth of the size.
  """
  if output.shape != expected.shape or output.dtype != expected.dtype:
    return float('inf')
  scale = np.max(np.abs(expected))
  if replaced is not None:
    scale = max(np.max(np.abs(expected - replaced)), 0.01 * scale)
  difference = np.max(np.abs(output - expected))
  if difference == 0.0:
    return 0.0
  return float(difference / scale) if scale else float('inf')


def run(example: Example, device: Device, program: str, repeats: int) -> Run:
  """Compile the program, check one update and time more.

  Every update takes over the variables of the one before, whose memory it may
  reuse, as in training. The batch stays on the device.
  """
  replaces = [o['replaces_input'] for o in example.manifest['outputs']]
  start = time.perf_counter()
  executable = device.compile(program)
  compile_secs = time.perf_counter() - start
  # Copies, as an update may write where its inputs were.
  arguments = [device.put(array.copy()) for array in example.inputs]

  def update():
    results = executable.execute_sharded(arguments)
    outputs = results.disassemble_into_single_device_arrays()
    outputs = [output[0].block_until_ready() for output in outputs]
    for replaced, output in zip(replaces, outputs, strict=True):
      if replaced is not None:
        arguments[replaced] = output
    return outputs

  outputs = [np.asarray(output) for output in update()]
  before = [None if i is None else example.inputs[i] for i in replaces]
  errors = list(map(relative_error, outputs, example.outputs, before))
  update_secs = []
  for _ in range(repeats):
    start = time.perf_counter()
    update()
    update_secs.append(time.perf_counter() - start)
  return Run(errors, update_secs, compile_secs)


def check(example: Example, errors: list[float], tolerance: float) -> None:
  """Print a row for each output; raise Failure if one is off."""
  num_failed = 0
  for output, error in zip(example.manifest['outputs'], errors, strict=True):
    verdict = 'pass' if error <= tolerance else 'FAIL'  # NaN fails.
    num_failed += verdict == 'FAIL'
    print(f'{verdict} {error:8.1e} {output["name"]}')
  what = f'of {len(errors)} outputs differ by more than {tolerance:g}'
  if num_failed:
    raise Failure(f'{num_failed} {what}')
  print(f'None {what}, relative to the largest value, or step of a variable.')


def report(folder: str, frames: int, device: Device, runs: dict[str, Run]):
  """Print the times and write them to `timing_<device>.json`."""
  timing = {'device': device.name, 'env_frames_per_update': frames}
  for name, done in runs.items():
    secs = statistics.median(done.update_secs)
    timing[name] = {
      'ms_per_update': 1000 * secs,
      'env_frames_per_sec': frames / secs,
      'num_updates': len(done.update_secs),
      'compile_secs': done.compile_secs,
      'largest_error': max(done.errors),
    }
    print(
      f'{device.name}, {name}: {1000 * secs:.2f} ms/update, '
      f'{frames / secs:,.0f} env frames/s (median of {len(done.update_secs)}), '
      f'largest error {max(done.errors):.1e}'
    )
  name = re.sub(r'[^\w.-]+', '_', device.name)
  path = os.path.join(folder, f'timing_{name}.json')
  with open(path, 'w', encoding='utf-8') as file:
    file.write(json.dumps(timing, indent=1) + '\n')


def main(argv: list[str]) -> None:
  """Check, then time, the learner in the folder that `argv` names."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', help='what export_learner.py wrote')
  parser.add_argument('--repeats', type=int, default=20, help='updates to time')
  text = f'{CPU_TOLERANCE:g} on CPU, else {ACCELERATOR_TOLERANCE:g}'
  parser.add_argument('--tolerance', type=float, help=f'relative; {text}')
  args = parser.parse_args(argv)
  if args.repeats < 1:
    raise Failure('--repeats must be at least 1')
  example = load_example(args.folder)
  device = open_device()
  variants = {'default_precision': example.program}
  tolerance = CPU_TOLERANCE
  if device.platform != 'cpu':
    # Checked without TF32, which is not what TensorFlow computed; timed both
    # ways.
    full = re.sub(r'\bDEFAULT\b', 'HIGHEST', example.program)
    variants = {'full_precision': full, **variants}
    tolerance = ACCELERATOR_TOLERANCE
  if args.tolerance is not None:
    tolerance = args.tolerance
  runs = {}
  try:
    for name, program in variants.items():
      runs[name] = run(example, device, program, args.repeats)
      if len(runs) == 1:
        check(example, runs[name].errors, tolerance)
    report(args.folder, example.manifest['env_frames_per_update'], device, runs)
  except (RuntimeError, ValueError, LookupError) as error:
    raise Failure(f'{args.folder} does not run: {error}') from error


if __name__ == '__main__':
  try:
    main(sys.argv[1:])
  except Failure as failure:
    sys.exit('error: ' + str(failure).split('\n')[0])

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
# Weights changed in their last bit alone move gradients of the deep network by
# up to 9e-4 (160 frames): rounding decides for some units on which side of a
# ReLU, or of a maximum, they are.
TOLERANCE = 5e-3

_BAD = (ValueError, LookupError, TypeError)


class Failure(Exception):
  """What the user can mend, or must know, in one line."""


class Example(NamedTuple):
  """The manifest, the StableHLO text, its arguments and its results."""

  manifest: dict[str, Any]
  program: str
  inputs: list[np.ndarray]
  outputs: list[np.ndarray]


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
  except OSError as error:
    raise Failure(f'cannot read {error.filename}: {error.strerror}') from error
  except (*_BAD, EOFError, zlib.error, zipfile.BadZipFile) as error:
    raise Failure(f'{folder} is damaged: {error}') from error
  return Example(manifest, program, **arrays)


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
  difference = np.max(np.abs(output - expected))
  scale = max(np.max(np.abs(expected)), np.finfo(np.float32).tiny)
  if replaced is not None:
    scale = max(np.max(np.abs(expected - replaced)), 0.01 * scale)
  return float(difference / scale) if difference else 0.0


def make_update(
  example: Example, program: str, device: Any, put: Callable
) -> Callable[[], list[Any]]:
  """Compile; return a function that updates once and returns the outputs.

  As in training, every update takes over the last one's variables, in place;
  the batch stays on the device.
  """
  from jaxlib import xla_client

  options = xla_client.CompileOptions()
  devices = xla_client.DeviceList((device,))
  executable = device.client.compile_and_load(program, devices, options)
  replaces = [o['replaces_input'] for o in example.manifest['outputs']]
  # Copies: an update may write where its inputs were.
  arguments = [put(array.copy()) for array in example.inputs]

  def update():
    results = executable.execute_sharded(arguments)
    outputs = results.disassemble_into_single_device_arrays()
    outputs = [output[0].block_until_ready() for output in outputs]
    for replaced, output in zip(replaces, outputs, strict=True):
      if replaced is not None:
        arguments[replaced] = output
    return outputs

  return update


def find_errors(example: Example, outputs: list[Any]) -> list[float]:
  """Return the relative error of each output of the first update."""
  replaces = [o['replaces_input'] for o in example.manifest['outputs']]
  before = [None if i is None else example.inputs[i] for i in replaces]
  outputs = map(np.asarray, outputs)
  return list(map(relative_error, outputs, example.outputs, before))


def check(example: Example, errors: list[float], tolerance: float) -> None:
  """Print each output's relative error; raise Failure if one is off."""
  num_failed = 0
  for output, error in zip(example.manifest['outputs'], errors, strict=True):
    verdict = 'pass' if error <= tolerance else 'FAIL'  # NaN fails.
    num_failed += verdict == 'FAIL'
    print(f'{verdict} {error:8.1e} {output["name"]}')
  what = f'of {len(errors)} outputs are off by more than {tolerance:g}'
  if num_failed:
    raise Failure(f'{num_failed} {what}')
  print('None', what)


def run(example: Example, args: argparse.Namespace) -> dict[str, Any]:
  """Check one update and time more; return what was measured."""
  device, put = open_device()
  variants = {'default_precision': example.program}
  if device.platform != 'cpu':
    # Checked without TF32, which TensorFlow's outputs never saw.
    full = re.sub(r'\bDEFAULT\b', 'HIGHEST', example.program)
    variants = {'full_precision': full, **variants}
  name = device.device_kind
  timing = {'device': name, 'num_updates': args.repeats}
  for variant, program in variants.items():
    update = make_update(example, program, device, put)
    errors = find_errors(example, update())
    if variant == next(iter(variants)):
      check(example, errors, args.tolerance)
    secs = []
    for _ in range(args.repeats):
      start = time.perf_counter()
      update()
      secs.append(time.perf_counter() - start)
    median = statistics.median(secs)
    rate = example.manifest['env_frames_per_update'] / median
    timing[variant] = {'ms_per_update': 1000 * median}
    timing[variant]['env_frames_per_sec'] = rate
    timing[variant]['largest_error'] = max(errors)
    print(f'{name}, {variant}: {1000 * median:.2f} ms/update,', end=' ')
    print(f'{rate:,.0f} env frames/s, largest error {max(errors):.1e}')
  return timing


def main(argv: list[str]) -> None:
  """Check, then time, the learner in the folder that `argv` names."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', help='what export_learner.py wrote')
  parser.add_argument('--repeats', type=int, default=20, help='updates to time')
  parser.add_argument(
    '--tolerance', type=float, default=TOLERANCE, help='allowed relative error'
  )
  args = parser.parse_args(argv)
  if args.repeats < 1:
    raise Failure('--repeats must be at least 1')
  example = load_example(args.folder)
  try:
    timing = run(example, args)
  except (RuntimeError, *_BAD) as error:
    raise Failure(f'{args.folder} does not run: {error}') from error
  name = re.sub(r'[^\w.-]+', '_', timing['device'])
  path = os.path.join(args.folder, f'timing_{name}.json')
  with open(path, 'w', encoding='utf-8') as file:
    file.write(json.dumps(timing, indent=1) + '\n')


if __name__ == '__main__':
  try:
    main(sys.argv[1:])
  except Failure as failure:
    sys.exit('error: ' + str(failure).split('\n')[0])
  except OSError as failure:
    sys.exit(f'error: {failure}')

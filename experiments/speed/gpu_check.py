"""Checks and times exported learners beside their like in JAX; writes one JSON.

    python -m experiments.speed.gpu_check FOLDER [--out=FILE]

`export_all.py` wrote FOLDER. Needs NumPy and jaxlib, and jax with its plugin
for an accelerator and for the comparison; no TensorFlow. Both programs of a
learner are compiled and run by the same calls, and compared with TensorFlow's
outputs before they are timed. The file is written anew after each, so a run
that is cut short keeps what it has; after --limit_secs no other is begun.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.speed import flops, run_exported
from experiments.speed.run_exported import Export, Failure

MIN_UPDATES, MAX_UPDATES = 3, 200
METHODS = {
  'time': 'median over updates, each waited for; batch already on the device',
  'flops': 'counted by hand from shapes, see experiments/speed/flops.py',
  'share_of_peak': 'of the published dense peak; float32: that of TF32',
  'memory_bytes': "the compiler's: arguments, outputs and temporaries",
  'device_peak_bytes': "the allocator's peak, if this program raised it",
  'check': 'against TensorFlow on a CPU; on accelerators float32 without TF32',
}


def check_all(
  folder: str, out: str, limit_secs: float, budget_secs: float
) -> dict[str, Any]:
  """Check and time every learner; write the report after each program.

  Args:
    folder: what export_all.py wrote.
    out: JSON file to write.
    limit_secs: after which no other program is begun.
    budget_secs: to time each program for.

  Returns:
    The report.
  """
  start = time.monotonic()
  device, put = run_exported.open_device()
  report = {
    'device': device.device_kind,
    'platform': device.platform,
    'cpu': _cpu_model(),
    'versions': _versions(),
    'methods': METHODS,
    'programs': [],
  }
  for name in run_exported.load_names(folder):
    export = run_exported.load_export(os.path.join(folder, name))
    entry = _describe(name, export, device)
    report['programs'].append(entry)
    for kind in ('tensorflow', 'jax'):
      began = time.monotonic()
      if began - start > limit_secs:
        entry[kind] = {'skipped': f'after {limit_secs:g} seconds'}
      else:
        entry[kind] = _try(kind, export, device, put, budget_secs)
        entry[kind]['secs'] = time.monotonic() - began
        _derive(entry, kind)
      report['secs'] = time.monotonic() - start
      _write(out, report)
      print(f'{name}, {kind}: {_summary(entry[kind])}', flush=True)
  return report


def _describe(name: str, export: Export, device: Any) -> dict[str, Any]:
  """Return what holds for both programs of a learner."""
  manifest = export.manifest
  config, precision = manifest['config'], manifest['precision']
  keys = ('torso', 'use_lstm', 'unroll_length', 'batch_size')
  return {
    'name': name,
    'precision': precision,
    **{key: config[key] for key in keys if key in config},
    'num_tasks': manifest['num_tasks'],
    'env_frames_per_update': manifest['env_frames_per_update'],
    'flops_per_update': manifest['flops_per_update'],
    'peak_flops_per_sec': flops.peak_flops(device.device_kind, precision),
    'tolerance': run_exported.TOLERANCES[precision],
  }


def _try(kind, export, device, put, budget_secs) -> dict[str, Any]:
  """Return what `measure` does, or why there is nothing."""
  try:
    program = export.program
    if kind == 'jax':
      # Here because it imports jax, which may be missing.
      from experiments.speed import jax_learner

      program = jax_learner.lower(export.manifest)
    return measure(export, program, device, put, budget_secs)
  except (ImportError, NotImplementedError) as error:
    return {'skipped': str(error)}
  except (Failure, RuntimeError, ValueError) as error:
    return {'failed': str(error).split('\n')[0]}
  finally:
    gc.collect()  # Gives the device's memory back.


def measure(
  export: Export,
  program: str,
  device: Any,
  put: Callable[[np.ndarray], Any],
  budget_secs: float,
) -> dict[str, Any]:
  """Check a program's first update, then time more.

  Args:
    export: the learner.
    program: StableHLO with the learner's arguments and results.
    device: to run on.
    put: copies onto the device.
    budget_secs: to time updates for.

  Returns:
    What was measured.

  Raises:
    Failure: an output is off.
  """
  precision = export.manifest['precision']
  result = {}
  if device.platform != 'cpu' and precision == 'float32':
    full = run_exported.full_precision(program)
    update = run_exported.Update(export, full, device, put)
    result['largest_error'] = _check(export, update())
    del update
  peak = _peak_bytes(device)
  start = time.perf_counter()
  update = run_exported.Update(export, program, device, put)
  result['compile_secs'] = time.perf_counter() - start
  outputs = update()
  if 'largest_error' in result:
    errors = run_exported.find_errors(export, outputs)
    result['largest_error_with_tf32'] = float(np.max(errors))
  else:
    result['largest_error'] = _check(export, outputs)
  del outputs  # The next update writes there.
  secs = _time(update, budget_secs)
  result['num_updates'] = len(secs)
  result['ms_per_update'] = 1000 * statistics.median(secs)
  result['memory_bytes'] = _memory_bytes(update.executable)
  new_peak = _peak_bytes(device)
  result['device_peak_bytes'] = new_peak if new_peak > peak else None
  return result


def _check(export, outputs) -> float:
  """Return the largest error; raise Failure if it is above the tolerance."""
  errors = run_exported.find_errors(export, outputs)
  tolerance = run_exported.TOLERANCES[export.manifest['precision']]
  names = [described['name'] for described in export.manifest['outputs']]
  off = [n for n, e in zip(names, errors, strict=True) if not e <= tolerance]
  worst = float(np.max(errors))
  if off:
    raise Failure(
      f'{len(off)} of {len(names)} outputs are off by more than '
      f'{tolerance:g}, at most by {worst:.1e}, the first is {off[0]}'
    )
  return worst


def _time(update, budget_secs) -> list[float]:
  """Return the seconds of each update, after two that are not counted."""
  update()
  update()
  secs, end = [], time.perf_counter() + budget_secs
  while len(secs) < MAX_UPDATES and (
    len(secs) < MIN_UPDATES or time.perf_counter() < end
  ):
    start = time.perf_counter()
    update()
    secs.append(time.perf_counter() - start)
  return secs


def _derive(entry, kind) -> None:
  """Add rates to what was measured, and the ratio once both are there."""
  if 'ms_per_update' not in entry[kind]:
    return
  secs = entry[kind]['ms_per_update'] / 1000
  entry[kind]['env_frames_per_sec'] = entry['env_frames_per_update'] / secs
  entry[kind]['flops_per_sec'] = entry['flops_per_update'] / secs
  if entry['peak_flops_per_sec']:
    share = entry[kind]['flops_per_sec'] / entry['peak_flops_per_sec']
    entry[kind]['share_of_peak'] = share
  rates = [
    entry.get(key, {}).get('env_frames_per_sec')
    for key in ('tensorflow', 'jax')
  ]
  if all(rates):
    entry['tensorflow_to_jax'] = rates[0] / rates[1]


def _memory_bytes(executable) -> int:
  stats = executable.get_compiled_memory_stats()
  return (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    - stats.alias_size_in_bytes
    + stats.temp_size_in_bytes
  )


def _peak_bytes(device) -> int:
  """Return the most that was allocated so far; 0 where nobody counts."""
  stats = None
  if device.platform != 'cpu':
    stats = device.memory_stats()
  return (stats or {}).get('peak_bytes_in_use', 0)


def _versions() -> dict[str, str | None]:
  import jaxlib

  try:
    import jax
  except ImportError:
    jax = None
  return {
    'python': platform.python_version(),
    'numpy': np.__version__,
    'jaxlib': jaxlib.__version__,
    'jax': jax and jax.__version__,
  }


def _cpu_model() -> str:
  """Return the processor's name and the number of its cores."""
  model = platform.machine()
  if os.path.exists('/proc/cpuinfo'):
    with open('/proc/cpuinfo', encoding='utf-8') as file:
      names = [line for line in file if line.startswith('model name')]
    model = names[0].split(':', 1)[1].strip() if names else model
  return f'{model}, {os.cpu_count()} cores'


def _summary(result: dict[str, Any]) -> str:
  for key in ('skipped', 'failed'):
    if key in result:
      return f'{key}: {result[key]}'
  rate = result['env_frames_per_sec']
  return (
    f'{result["ms_per_update"]:.2f} ms/update, {rate:,.0f} env frames/s, '
    f'compiled in {result["compile_secs"]:.0f} s, '
    f'largest error {result["largest_error"]:.1e}'
  )


def _write(path: str, report: dict[str, Any]) -> None:
  with open(f'{path}.partial', 'w', encoding='utf-8') as file:
    file.write(json.dumps(report, indent=1) + '\n')
  os.replace(f'{path}.partial', path)


def main(argv: list[str]) -> None:
  """Check what the command line names; raise Failure if any output is off."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', help='what export_all.py wrote')
  parser.add_argument('--out', help='JSON to write; FOLDER/gpu_check.json')
  parser.add_argument(
    '--limit_secs',
    type=float,
    default=400,
    help='after which no other program is begun',
  )
  parser.add_argument(
    '--budget_secs', type=float, default=4, help='to time each program for'
  )
  args = parser.parse_args(argv)
  out = args.out or os.path.join(args.folder, 'gpu_check.json')
  report = check_all(args.folder, out, args.limit_secs, args.budget_secs)
  failed = [
    f'{entry["name"]}, {kind}'
    for entry in report['programs']
    for kind in ('tensorflow', 'jax')
    if 'failed' in entry[kind]
  ]
  if failed:
    raise Failure(f'{len(failed)} failed, see {out}: {"; ".join(failed)}')
  print(f'wrote {out}')


if __name__ == '__main__':
  run_exported.exit_with(main)

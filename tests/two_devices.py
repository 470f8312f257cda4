"""Compares two devices with one, in a process of its own.

TensorFlow cannot split the CPU into two devices once it has begun.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from core.device import Device
from core.types import Unroll
from tests import runs


def result_of(module: str) -> dict[str, Any]:
  """Runs a module that prints JSON in its last line; returns it."""
  finished = subprocess.run(
    [sys.executable, '-m', module],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  if finished.returncode:
    raise AssertionError(finished.stderr)
  return json.loads(finished.stdout.splitlines()[-1])


def split_cpu() -> None:
  """Makes two logical devices of the CPU."""
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )


def update(
  agent: Any, batches: Iterable[Unroll]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
  """Returns the metrics of each update and the variables after the last."""
  metrics = []
  for batch in batches:
    found = agent.update(batch, tf.constant(0.01))
    metrics.append({name: x.numpy().tolist() for name, x in found.items()})
  return metrics, {n: v.numpy() for n, v in agent.variables().items()}


def compare(
  run: Callable[[Device], tuple[list, dict[str, np.ndarray]]],
  one: Device,
  two: Device,
) -> dict[str, Any]:
  """Runs the same updates on one device and on two.

  Returns:
    `expected` and `found`, the metrics; by variable `largest`, its largest
    absolute value, and `differences`, the largest difference.
  """
  expected, variables = run(one)
  found, others = run(two)
  assert others.keys() == variables.keys()
  return dict(
    expected=expected,
    found=found,
    largest={n: float(np.max(np.abs(v))) for n, v in variables.items()},
    differences={
      n: float(np.max(np.abs(v - variables[n]))) for n, v in others.items()
    },
  )

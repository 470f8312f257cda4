"""Counts the floating-point operations of an update, by hand.

The compiler's own count leaves out what a library's kernel computes, on a GPU
all convolutions. Counted here, for TensorFlow and JAX alike: two operations for
each product of a convolution or a matrix, once forwards and twice backwards
(with respect to weights and to inputs), save that frames need no gradient.
STACX does that twice, and between takes a direction in the weights forwards.
"""

import collections
import math
import re
from collections.abc import Mapping, Sequence


def count_flops(
  shapes: Mapping[str, Sequence[int]],
  frame_size: tuple[int, int],
  num_steps: int,
  instruction_length: int,
  num_heads: int = 0,
) -> int:
  """Return the operations of one update of an ActorCritic, or of STACX.

  Args:
    shapes: of the network's variables by name.
    frame_size: height and width.
    num_steps: (T + 1) B, steps that the network processes.
    instruction_length: L, words in an instruction.
    num_heads: P of STACX; 0 of the others.
  """
  weights = {
    name: shape
    for name, shape in shapes.items()
    if name.endswith(('/w', '/w_hidden')) and not name.startswith('rmsprop')
  }
  positions = _positions(frame_size, any('deep' in name for name in weights))
  products = collections.Counter()
  for name, shape in weights.items():
    layer = name.split('/')[-2]
    times = positions.get(layer, 1)
    if layer == 'language_lstm':
      times = instruction_length
    products[layer] += times * math.prod(shape)
  first = products['section0_conv0'] or products['conv1']
  if not num_heads:
    return 2 * num_steps * (3 * products.total() - first)
  # The direction needs two products a layer, the outer loss head 1 alone.
  heads = products['policy'] + products['values']
  torso = 8 * (products.total() - heads) - 3 * first
  return 2 * num_steps * (torso + 5 * heads + 3 * heads // num_heads)


def count_brc_flops(
  shapes: Mapping[str, Sequence[int]], num_transitions: int
) -> int:
  """Return the operations of BRC's gradient steps.

  For each transition the target's critics and its actor compute forwards,
  critics and actor once forwards and twice backwards, and the actor's loss goes
  through the critics forwards and backwards, not to their weights.

  Args:
    shapes: of the variables by name; critics' weights are [E, inputs, outputs].
    num_transitions: in the batches of all gradient steps.
  """
  critics, actor = (
    sum(
      math.prod(shape)
      for name, shape in shapes.items()
      if name.startswith(prefix) and name.endswith('/w')
    )
    for prefix in ('critic/', 'actor/')
  )
  return 2 * num_transitions * (6 * critics + 4 * actor)


def _positions(frame_size: tuple[int, int], deep: bool) -> dict[str, int]:
  """Return at how many places of a frame each convolution is computed."""
  if not deep:
    first = [(side - 8) // 4 + 1 for side in frame_size]
    second = [(side - 4) // 2 + 1 for side in first]
    return {'conv1': math.prod(first), 'conv2': math.prod(second)}
  positions, size = {}, frame_size
  for section in range(3):
    positions[f'section{section}_conv0'] = math.prod(size)
    size = [math.ceil(side / 2) for side in size]
    for i in range(1, 5):
      positions[f'section{section}_conv{i}'] = math.prod(size)
  return positions


# Dense operations a second, float32 on matrix units (TF32, XLA's default as
# TensorFlow's) where there are any. Published with sparsity, if at all, at
# twice these. Sources: NVIDIA's architecture papers for H100 (table 2), A100
# (table 1) and T4 (table 5), and the data sheets of H200 and L4.
_PEAKS = (
  (r'H100 80GB HBM3|H200$', {'float32': 494.7e12, 'bfloat16': 989.4e12}),
  (r'H100 PCIe', {'float32': 378e12, 'bfloat16': 756e12}),
  (r'\bA100\b', {'float32': 156e12, 'bfloat16': 312e12}),
  (r'\bL4$', {'float32': 60e12, 'bfloat16': 121e12}),
  (r'\bT4$', {'float32': 8.1e12}),  # Neither TF32 nor bfloat16.
)


def peak_flops(device_kind: str, precision: str) -> float | None:
  """Return a device's published peak in operations a second.

  Args:
    device_kind: as jax names it.
    precision: 'float32' or 'bfloat16', of the convolutions.

  Returns:
    The peak; None of devices that are not in the table, as all CPUs.
  """
  for pattern, peaks in _PEAKS:
    if re.search(pattern, device_kind):
      return peaks.get(precision)
  return None

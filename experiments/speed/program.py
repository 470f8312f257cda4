"""The parts of an export: a StableHLO program and its manifest.

`export.py` and `export_brc.py` write them, `run_exported.py` reads them.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.files import atomic_file
from experiments.speed import run_exported


def recipe(kind: str, **numbers: float) -> dict[str, Any]:
  """Return how an input is filled; `run_exported.make_inputs` knows kinds."""
  return {'kind': kind, **numbers}


def described(
  name: str, shape: Sequence[int], dtype: Any, recipe: Mapping[str, Any]
) -> dict[str, Any]:
  """Return what the manifest says of an input."""
  shape, dtype = [int(size) for size in shape], str(np.dtype(dtype))
  return {'name': name, 'shape': shape, 'dtype': dtype, 'recipe': recipe}


def captured_names(
  function: Any, arguments: Sequence[Any], variables: Mapping[str, Any]
) -> list[str]:
  """Return the names of the variables that a compiled function captures.

  They follow its arguments, in the order of their capture.

  Args:
    function: a tf.function.
    arguments: that it is called with.
    variables: by name.
  """
  captured = function.get_concrete_function(*arguments).captured_inputs
  names = {id(v.handle): name for name, v in variables.items()}
  return [names[id(handle)] for handle in captured]


def write(
  folder: str,
  about: Mapping[str, Any],
  text: str,
  inputs: Mapping[str, Mapping[str, Any]],
  arrays: Mapping[str, np.ndarray],
  order: Sequence[str],
  metrics: Mapping[str, np.ndarray],
  variables: Mapping[str, Any],
) -> None:
  """Write a program and its manifest.

  Args:
    folder: to write to.
    about: what the manifest says of the learner as a whole.
    text: StableHLO, from TensorFlow.
    inputs: from `described`, by name.
    arrays: with which they are filled.
    order: the names of the program's inputs.
    metrics: of a reference update on these arrays, in the program's order.
    variables: after it, by name.

  Raises:
    UserError: the folder cannot be written.
  """
  num_arguments = sum(name not in variables for name in order)
  replaces = _replaced_inputs(text, num_arguments)
  outputs = dict(metrics)
  for output_index, input_index in sorted(replaces.items()):
    assert output_index == len(outputs), 'variables must follow metrics'
    name = order[input_index]
    outputs[name] = variables[name].numpy()
  expected = _describe_values(outputs, arrays)
  manifest = {
    **about,
    'inputs': [
      {**inputs[n], 'crc32': zlib.crc32(arrays[n].tobytes())} for n in order
    ],
    'outputs': [
      _describe_output(name, x, replaces.get(i), expected[name])
      for i, (name, x) in enumerate(outputs.items())
    ],
  }
  text = _portable(_without_locations(text))
  # The manifest last, as it vouches for the other.
  files = {
    'learner.mlir.gz': gzip.compress(text.encode(), mtime=0),
    'manifest.json': (json.dumps(manifest, indent=1) + '\n').encode(),
  }
  for name, content in files.items():
    with atomic_file(os.path.join(folder, name)) as file:
      file.write(content)


def _replaced_inputs(program: str, num_arguments: int) -> dict[int, int]:
  """Return, for each output that is a new value of an input, that input.

  The compiler says so itself: such outputs may reuse their input's memory.
  """
  pattern = r'parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>'
  replaces = {int(o): int(i) for i, o in re.findall(pattern, program)}
  if not replaces or min(replaces.values()) < num_arguments:
    raise RuntimeError('the compiled update does not say what it replaces')
  return replaces


def _without_locations(program: str) -> str:
  """Remove the names and paths of the Python lines behind each operation."""
  program = re.sub(r' loc\((?:"[^"]*"|\([^()]*\)|[^"()])*\)', '', program)
  return re.sub(r'(?m)^#loc.*\n', '', program)


def _portable(program: str) -> str:
  """Write in StableHLO what is not: newer compilers refuse MHLO's copies."""
  same = r'stablehlo.reshape \1 : (\2) -> \2'
  return re.sub(r'mhlo\.copy (%\w+) : (tensor<.*>)', same, program)


def _describe_values(outputs, arrays) -> dict[str, dict[str, Any]]:
  """Return what is kept of the outputs' values, by name.

  The meta-gradient's elements are metrics each, but sums of numbers that cancel
  like any gradient's: their errors are measured by the largest of them.
  """
  expected = {
    name: run_exported.describe_output(x, arrays.get(name))
    for name, x in outputs.items()
  }
  elements = [x for name, x in expected.items() if '_gradient_head_' in name]
  for element in elements:
    element['scale'] = max(other['largest'] for other in elements)
  return expected


def _describe_output(name, array, replaces_input, expected):
  return {
    'name': name,
    'shape': list(array.shape),
    'dtype': str(array.dtype),
    'replaces_input': replaces_input,
    'expected': expected,
  }

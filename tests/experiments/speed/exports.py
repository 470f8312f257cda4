"""Small learners to export, and runs where packages are missing."""

import dataclasses
import gzip
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import brc.agent
import brc.config
import impala.agent
import impala.config
import popart.agent
import popart.config
import stacx.agent
import stacx.config
from experiments.speed import export, export_brc
from experiments.speed.export_all import Learner

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Together every network and loss of experiments/speed/export_all.py.
LEARNERS = {
  'shallow': Learner(
    impala.agent.Agent,
    dataclasses.replace(
      impala.config.ATARI_EXPERT_SHALLOW, unroll_length=3, batch_size=2
    ),
    export.atari_spec(num_actions=6),
  ),
  'lstm': Learner(
    impala.agent.Agent,
    dataclasses.replace(
      impala.config.DMLAB_SINGLE_LEVEL,
      unroll_length=2,
      batch_size=2,
      momentum=0.5,
      seed=4,  # Episodes begin before the last step.
    ),
    export.dmlab_spec(height=24, width=32, instruction_length=3),
  ),
  # The gradient is clipped, and three rollouts share two tasks.
  'popart': Learner(
    popart.agent.Agent,
    dataclasses.replace(
      popart.config.ATARI57,
      torso='shallow',  # The deep one is above.
      unroll_length=2,
      batch_size=3,
      max_gradient_norm=0.5,
      statistics_step_size=0.1,
    ),
    export.atari_spec(num_actions=6, task_names=('one', 'other')),
  ),
}
# What JAX has no like of.
STACX = Learner(
  stacx.agent.Agent,
  dataclasses.replace(
    stacx.config.ATARI,
    torso='shallow',
    unroll_length=3,
    batch_size=2,
    max_gradient_norm=0.5,
    learning_rate=0.06,  # Else float32 hardly knows the divergence.
  ),
  export.atari_spec(num_actions=6),
)
# Its noise is an input, and its export a function of its own.
BRC = Learner(
  brc.agent.Agent,
  dataclasses.replace(
    brc.config.CONTROL,
    critic_width=8,
    critic_depth=1,
    actor_width=8,
    num_atoms=11,
    embedding_size=4,
    batch_size=4,
  ),
  export_brc.control_spec(num_tasks=2, num_features=5, num_actions=3),
  export_brc.export_learner,
)


def write(name: str, folder: pathlib.Path) -> pathlib.Path:
  """Exports a learner to a folder of its name in `folder`; returns that.

  Args:
    name: of LEARNERS, 'stacx' or 'brc'.
    folder: to write into.
  """
  learner = {**LEARNERS, 'stacx': STACX, 'brc': BRC}[name]
  *parts, export_learner = learner
  export_learner(*parts, str(folder / name))
  return folder / name


def run_python(*args, without=('tensorflow',), cwd=ROOT):
  """Runs Python where the packages `without` cannot be imported."""
  with tempfile.TemporaryDirectory() as blocked:
    for package in without:
      path = pathlib.Path(blocked, f'{package}.py')
      path.write_text(f'raise ImportError("no {package}")')
    return subprocess.run(
      [sys.executable, *args],
      cwd=cwd,
      env={
        'PATH': os.environ['PATH'],
        'PYTHONPATH': blocked,
        'XLA_FLAGS': '--xla_backend_optimization_level=0',
      },
      capture_output=True,
      text=True,
      timeout=300,
    )


def read_program(folder: pathlib.Path) -> str:
  return gzip.decompress((folder / 'learner.mlir.gz').read_bytes()).decode()


def read_manifest(folder: pathlib.Path) -> dict:
  return json.loads((folder / 'manifest.json').read_text())


def num_weights(folder: pathlib.Path) -> int:
  inputs = read_manifest(folder)['inputs']
  shapes = [x['shape'] for x in inputs if x['name'].startswith('agent/')]
  return sum(math.prod(shape) for shape in shapes)


def change_manifest(folder: pathlib.Path, change) -> None:
  """Calls `change` on the manifest and writes it again."""
  manifest = read_manifest(folder)
  change(manifest)
  (folder / 'manifest.json').write_text(json.dumps(manifest))

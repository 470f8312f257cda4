"""Exports the learners that `gpu_check.py` runs.

    python -m experiments.speed.export_all FOLDER

A folder each, and their names in the order in which they are to run.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import brc.config
import impala.config
import popart.config
import stacx.config
from core import start
from core.files import atomic_file

with start.quiet_tensorflow():
  import brc.agent
  import impala.agent
  import popart.agent
  import stacx.agent
  from core.suites.atari import GAMES
  from core.types import EnvSpec
  from experiments.speed import export, export_brc, run_exported


class Learner(NamedTuple):
  """What to export: a paper's Agent, its config, and what it acts on."""

  agent_class: type
  config: Any
  env_spec: EnvSpec
  export: Callable[..., None] = export.export_learner


# The last takes longest to compile, and is what a short check leaves out.
LEARNERS = {
  'impala_shallow': Learner(
    impala.agent.Agent,
    impala.config.ATARI_EXPERT_SHALLOW,
    export.atari_spec(),
  ),
  'impala_deep': Learner(
    impala.agent.Agent, impala.config.ATARI_EXPERT_DEEP, export.atari_spec()
  ),
  'stacx_deep': Learner(
    stacx.agent.Agent, stacx.config.ATARI, export.atari_spec()
  ),
  'brc_width_1024': Learner(
    brc.agent.Agent,
    dataclasses.replace(brc.config.CONTROL, critic_width=1024),
    export_brc.control_spec(),
    export_brc.export_learner,
  ),
  'popart_57_tasks': Learner(
    popart.agent.Agent,
    popart.config.ATARI57,
    export.atari_spec(task_names=GAMES),
  ),
  'impala_deep_lstm': Learner(
    impala.agent.Agent, impala.config.DMLAB_SINGLE_LEVEL, export.dmlab_spec()
  ),
}


def export_all(
  folder: str, learners: Mapping[str, Learner] = LEARNERS
) -> list[str]:
  """Export every learner in float32 and in bfloat16.

  Args:
    folder: to write to.
    learners: by name.

  Returns:
    The names of the folders inside, in this order.
  """
  names = []
  for name, learner in learners.items():
    for precision in ('float32', 'bfloat16'):
      config = dataclasses.replace(learner.config, precision=precision)
      names.append(f'{name}_{precision}')
      path = os.path.join(folder, names[-1])
      learner.export(learner.agent_class, config, learner.env_spec, path)
      print(f'wrote {path}', flush=True)
  path = os.path.join(folder, run_exported.PROGRAMS_FILE)
  with atomic_file(path) as file:
    file.write((json.dumps(names, indent=1) + '\n').encode())
  return names


def main() -> None:
  """Export to the folder that the command line names."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('folder', help='where to write')
  export_all(parser.parse_args().folder)


if __name__ == '__main__':
  main()

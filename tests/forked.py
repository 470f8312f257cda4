"""Modules run as __main__ in processes that find TensorFlow imported.

Importing it takes longer than most of the tests' runs. Each process is forked
from a server that has imported it and done nothing else.
"""

import multiprocessing
import os
import pathlib
import runpy
import sys
from multiprocessing.process import BaseProcess

ROOT = pathlib.Path(__file__).resolve().parents[1]

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['core.actor_learner', 'impala.agent'])


def start(
  module: str, arguments: list[str], stdout: str, stderr: str
) -> BaseProcess:
  """Does what `python -m module arguments` does, in a session of its own.

  Args:
    module: dotted name.
    arguments: of the command line.
    stdout: file that takes what it prints.
    stderr: likewise.

  Returns:
    The process; a status is its `exitcode`, negative after a signal.
  """
  process = _CONTEXT.Process(
    target=_run, args=(module, arguments, stdout, stderr, dict(os.environ))
  )
  process.start()
  return process


def _run(module, arguments, stdout, stderr, environment):
  """Body of the process."""
  os.setsid()
  # Its own processes start as anywhere else, not from this server.
  multiprocessing.set_start_method(None, force=True)
  for path, descriptor in ((stdout, 1), (stderr, 2)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
  os.chdir(ROOT)
  os.environ.clear()
  os.environ.update(environment)
  paths = environment.get('PYTHONPATH', '').split(os.pathsep)
  sys.path[:0] = [path for path in paths if path]
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name='__main__', alter_sys=True)

"""A run without TensorFlow, with which the tests of the launcher are fast.

It counts frames instead of training, with the interrupt, the checkpoints and
the files of a real run. Each start appends a line to <logdir>/starts.
"""

import argparse
import json
import os
import signal
import sys
import time

from core import checkpointing
from core.interrupt import Interrupt

FRAMES_PER_UPDATE = 100
FRAMES_PER_SEC = 50_000  # What updates.csv says.


def main() -> None:
  """Counts to --total_environment_frames, or plays a test stage."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--logdir')
  parser.add_argument('--seed', type=int)
  parser.add_argument('--mode', default='train')
  parser.add_argument('--total_environment_frames', type=int, default=500)
  parser.add_argument('--update_secs', type=float, default=0.01)
  parser.add_argument('--learning_rate', type=float, default=0.1)
  parser.add_argument('--fails_while', default='', help='this file exists')
  parser.add_argument('--is_deaf', default='false', help='to SIGTERM')
  parser.add_argument('--benchmark_json', default='', help='to write so')
  parser.add_argument('--flagfile')
  arguments = sys.argv[1:]
  if path := parser.parse_known_args()[0].flagfile:
    with open(path) as file:
      arguments = file.read().splitlines() + arguments
  flags = parser.parse_args(arguments)
  with open(os.path.join(flags.logdir, 'starts'), 'a') as file:
    file.write(f'{flags.mode} {os.getpid()} {time.time()}\n')
  if os.path.exists(flags.fails_while):
    sys.exit(f'error: {flags.fails_while} is in the way')
  if flags.mode == 'train':
    train(flags)
  if flags.mode == 'benchmark':
    benchmark(flags)
  with open(os.path.join(flags.logdir, 'starts'), 'a') as file:
    file.write(f'end {os.getpid()} {time.time()}\n')


def benchmark(flags: argparse.Namespace) -> None:
  """Writes what core's benchmark mode writes."""
  rates = [0.5 * FRAMES_PER_SEC, FRAMES_PER_SEC, 3.0 * FRAMES_PER_SEC]
  content = {
    'config': {'stop_frames': 0, **vars(flags)},
    'frames_per_sec': {'training': rates},
    'peak_memory_gb': 0.5,
  }
  with open(os.path.join(flags.logdir, 'benchmark.json'), 'w') as file:
    file.write(flags.benchmark_json or json.dumps(content))


def train(flags: argparse.Namespace) -> None:
  """Counts on from the newest checkpoint; Ctrl-C ends it with another."""
  with open(os.path.join(flags.logdir, 'run.json'), 'w') as file:
    json.dump({'config': vars(flags)}, file)
  folder = os.path.join(flags.logdir, 'checkpoints')
  restored = checkpointing.restore_latest(folder, print)
  frames = restored[1]['env_frames'] if restored else 0
  updates = os.path.join(flags.logdir, 'updates.csv')
  with Interrupt() as interrupt, open(updates, 'a', buffering=1) as file:
    if flags.is_deaf == 'true':
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not frames:
      file.write('env_frames,frames_per_sec,wall_secs\n')
    while frames < flags.total_environment_frames and not interrupt.requested:
      time.sleep(flags.update_secs)
      frames += FRAMES_PER_UPDATE
      file.write(f'{frames},{FRAMES_PER_SEC},{frames / FRAMES_PER_SEC}\n')
  checkpointing.save(folder, frames, {}, {'env_frames': frames}, keep=3)


if __name__ == '__main__':
  main()

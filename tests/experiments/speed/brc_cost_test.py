"""Tests of experiments/speed/brc_cost.py and brc_worker.py."""

import argparse
import sys
from unittest import mock

import numpy as np
import rich.console
from absl.testing import absltest, parameterized

from core.errors import UserError
from experiments.speed import brc_cost, brc_worker

# Says that an update took 3, 2, 1, 2, ... seconds.
WORKER = """
import json, sys
for i, _ in enumerate(sys.stdin):
  secs = abs(2 - i) + 1
  found = dict(cpu=secs, wall=2 * secs, peak_mb=10 * (i + 1))
  print(json.dumps(found), flush=True)
"""


class BrcCostTest(parameterized.TestCase):
  def use_worker(self, text):
    path = self.create_tempfile(content=text).full_path
    self.enter_context(mock.patch.object(brc_cost, '_WORKER', path))

  def measure(self, **changes):
    arguments = dict(
      num_rounds=1,
      num_warm=1,
      precision='float32',
      official='',
      official_python=sys.executable,
    )
    return brc_cost.measure(8, argparse.Namespace(**arguments | changes))

  def test_least_of_the_rounds_that_count(self):
    self.use_worker(WORKER)
    folder = self.create_tempdir().full_path
    found = self.measure(official=folder)
    self.assertEqual(found['ours'], dict(peak_mb=20, cpu=2, wall=4))
    self.assertEqual(found['official'], found['ours'])
    found['ours'] = self.measure(num_rounds=3)['ours']
    self.assertEqual(found['ours'], dict(peak_mb=40, cpu=1, wall=2))
    console = rich.console.Console(width=100)
    with console.capture() as capture:
      console.print(brc_cost.make_table({8: found}))
    rows = [line.split('│')[1:-1] for line in capture.get().splitlines()]
    self.assertIn(
      ['8', 'ours', '1,000', '2,000', '40', '0.50 x', '0.50 x'],
      [[cell.strip() for cell in row] for row in rows],
    )

  def test_a_worker_that_ends_is_one_line(self):
    self.use_worker('')
    with self.assertRaisesRegex(UserError, 'ours failed'):
      self.measure()
    with self.assertRaisesRegex(UserError, 'cannot start no_python'):
      brc_cost.Worker('no_python', '', ['ours'])

  @parameterized.parameters(
    ('--widths=a', '--widths=a: whole numbers'),
    ('--num_rounds=0', '--num_rounds must be'),
    ('--official=nowhere', 'there is no folder nowhere'),
  )
  def test_bad_input(self, argument, expected):
    with (
      mock.patch('sys.argv', ['brc_cost', argument]),
      self.assertRaisesRegex(SystemExit, f'error: .*{expected}'),
    ):
      brc_cost.main()

  def test_batch_is_of_seven_tasks(self):
    batch = brc_worker.make_batch()
    self.assertEqual(batch['features'].shape, (2, 1024, 223))
    self.assertEqual(set(batch['task_id'].ravel()), set(range(7)))
    self.assertLess(np.abs(batch['action']).max(), 1.0)


if __name__ == '__main__':
  absltest.main()

"""Two processes as two workers equal one process with the whole batch."""

import os
import tempfile

import numpy as np
from absl.testing import absltest

from core.device import Device
from tests import runs, two_workers, workers


class TwoWorkersTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    ports = workers.free_ports(2)
    started, paths = [], []
    for index in range(2):
      paths.append(os.path.join(temporary.name, f'{index}.npz'))
      with workers.environment(ports, index):
        started.append(runs.Process('tests.two_workers', paths[-1]))
    cls.expected = {}
    for name in two_workers.CONFIGS:
      cls.expected |= two_workers.updates(name, Device(xla='off'))
    for finished in workers.finish(started):
      if finished.status:
        raise AssertionError(finished)
    cls.found = [dict(np.load(path)) for path in paths]
    cls.line, _ = (str(found.pop('line')) for found in cls.found)

  def test_both_are_equal_to_the_bit(self):
    chief, other = self.found
    self.assertEqual(chief.keys(), other.keys())
    for name, array in chief.items():
      np.testing.assert_array_equal(array, other[name], name)

  def test_they_equal_one_process(self):
    self.assertEqual(self.found[0].keys(), self.expected.keys())
    self.assertContainsSubset(
      ['popart/popart/shift', 'popart/popart/second_moment'], self.expected
    )
    for name, array in self.expected.items():
      # Relative to the largest: moments are sums of many gradients.
      bound = 1e-5 * max(1.0, np.max(np.abs(array)))
      difference = np.max(np.abs(self.found[0][name] - array))
      self.assertLess(difference, bound, name)

  def test_one_that_lives_but_says_nothing(self):
    self.assertIn('another one said nothing for --coll', self.line)

  def test_something_was_learned(self):
    names = [n for n in self.expected if n.endswith('gradient_norm/0')]
    self.assertLen(names, len(two_workers.CONFIGS))
    for name in names:
      self.assertGreater(self.expected[name], 2.0, name)  # It was clipped.


if __name__ == '__main__':
  absltest.main()

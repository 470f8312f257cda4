"""The stand-in is as strict as the real engine's Python module."""

import importlib
import pathlib
import sys

import numpy as np
from absl.testing import absltest, parameterized


class ContractTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = str(pathlib.Path(__file__).parent)
    sys.path.insert(0, folder)
    self.addCleanup(sys.path.remove, folder)
    self.module = importlib.import_module('deepmind_lab')

  def _lab(self, *args, **kwargs):
    lab = self.module.Lab('tests/empty_room_test', ['INSTR'], *args, **kwargs)
    lab.reset(seed=1)
    return lab

  @parameterized.named_parameters(
    ('level', (b'a', []), TypeError),
    ('observations', ('tests/empty_room_test', ('INSTR',)), TypeError),
    ('unknown', ('tests/empty_room_test', ['RGB_INTERLEAVE']), ValueError),
    ('config', ('tests/empty_room_test', [], {'width': 96}), TypeError),
    ('setting', ('tests/empty_room_test', [], {'width': '9.5'}), RuntimeError),
  )
  def test_arguments(self, arguments, error):
    with self.assertRaises(error):
      self.module.Lab(*arguments)

  @parameterized.named_parameters(
    ('type', [0] * 7, TypeError),
    ('shape', np.zeros(6, np.intc), ValueError),
    ('dtype', np.zeros(7, np.int64), ValueError),
  )
  def test_actions(self, action, error):
    with self.assertRaises(error):
      self._lab().step(action)

  def test_seeds_are_pythons(self):
    with self.assertRaises(ValueError):
      self._lab().reset(seed=np.int64(1))

  def test_nothing_after_the_end(self):
    lab = self._lab()
    lab.step(np.zeros(7, np.intc), num_steps=100)
    self.assertFalse(lab.is_running())
    with self.assertRaises(RuntimeError):
      lab.observations()
    with self.assertRaises(RuntimeError):
      lab.step(np.zeros(7, np.intc))
    lab.reset()
    self.assertTrue(lab.is_running())
    self.assertTrue(lab.close())
    self.assertFalse(lab.close())
    self.assertFalse(lab.is_running())


if __name__ == '__main__':
  absltest.main()

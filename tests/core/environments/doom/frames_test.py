"""Tests of core/environments/doom/frames.py."""

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom.frames import Reducer

FRAME = np.random.default_rng(0).integers(0, 256, [20, 30, 3], np.uint8)


class ReducerTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('as_by_default', 12, 18),
    ('halves', 10, 15),
    ('nothing_in_common', 7, 11),
    ('one_pixel', 1, 1),
  )
  def test_each_pixel_is_the_mean_of_its_area(self, height, width):
    # On a grid so fine that every area consists of whole squares.
    fine = FRAME.astype(np.float64)
    fine = fine.repeat(height, axis=0).repeat(width, axis=1)
    fine = fine.reshape(height, 20, width, 30, 3).mean(axis=(1, 3))
    found = Reducer(20, 30, height, width)(FRAME)
    self.assertEqual((found.shape, found.dtype), (fine.shape, np.uint8))
    self.assertLessEqual(np.abs(found - fine).max(), 0.5001)

  def test_same_size_changes_nothing(self):
    np.testing.assert_array_equal(Reducer(20, 30, 20, 30)(FRAME), FRAME)


if __name__ == '__main__':
  absltest.main()

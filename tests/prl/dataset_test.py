"""Tests of prl/dataset.py."""

import numpy as np
from absl.testing import absltest

from prl import blocks as block_files
from prl.blocks import Block
from prl.dataset import Dataset
from tests.prl.blocks_test import SPEC, played, write


class DatasetTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    data_dir = self.create_tempdir().full_path
    blocks = []
    for iteration in range(1, 8):
      spec = SPEC._replace(
        iteration=iteration, num_cases=40 if iteration == 1 else 20
      )
      folder = block_files.folder_of(data_dir, iteration)
      write(folder, spec, played(spec, iteration), 1e6)
      blocks.append(Block(folder, spec))
    self.data = Dataset(blocks, 3.0, 3)

  def test_sizes(self):
    self.assertEqual(self.data.num_cases, 4 * (40 + 6 * 20))

  def test_weights_are_the_papers(self):
    weights = np.array([2, 1, 1, 3, 3, 3, 9])  # Per case, times size.
    np.testing.assert_allclose(self.data.probabilities, weights / 22)

  def test_frequencies_match_the_weights(self):
    num_draws = 22_000
    blocks, cases = self.data.draw(np.random.default_rng(0), num_draws)
    counts = np.bincount(blocks, minlength=7)
    expected = self.data.probabilities * num_draws
    chi_square = ((counts - expected) ** 2 / expected).sum()
    self.assertLess(chi_square, 22.5)  # 99.9 % of 6 degrees of freedom.
    # Within a block every case is as likely.
    counts = np.bincount(cases[blocks == 6], minlength=80)
    self.assertLen(counts, 80)
    expected = counts.sum() / 80
    self.assertLess(((counts - expected) ** 2 / expected).sum(), 124.8)

  def test_a_batch_depends_on_its_seed_alone(self):
    first, second = (self.data.batch([1, 2, 3], 32) for _ in range(2))
    other = self.data.batch([1, 2, 4], 32)
    for a, b, c in zip(first, second, other, strict=True):
      np.testing.assert_array_equal(a, b)
      self.assertFalse(np.array_equal(a, c))
    self.assertEqual(first.frames.shape, (32, 4, 2, 3))


if __name__ == '__main__':
  absltest.main()

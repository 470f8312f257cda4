"""The data set of PRL: blocks of cases, and how often each is drawn.

Mujika 2016 (arXiv:1611.01457), section 4.5.
"""

import concurrent.futures
from collections.abc import Sequence

import numpy as np

from prl.blocks import Block, Cases


class Dataset:
  """Blocks with the weights by which their cases are drawn.

  Attributes:
    blocks: by iteration.
    probabilities: float64 [blocks], how often a case is of each.
  """

  def __init__(
    self, blocks: Sequence[Block], weight_factor: float, weight_iterations: int
  ):
    """Weighs the blocks.

    Args:
      blocks: of iterations 1, 2, ....
      weight_factor: by which a case's weight grows (3 in the paper) ...
      weight_iterations: ... every so many iterations (3): w_t = 3^((t-1) // 3).
    """
    self.blocks = tuple(blocks)
    newest = self.blocks[-1].spec.iteration
    weights = [
      # Relative to the newest, so that nothing overflows.
      weight_factor
      ** (
        (block.spec.iteration - 1) // weight_iterations
        - (newest - 1) // weight_iterations
      )
      * block.num_cases
      for block in self.blocks
    ]
    self.probabilities = np.array(weights) / np.sum(weights)

  @property
  def num_cases(self) -> int:
    """Cases of all blocks."""
    return sum(block.num_cases for block in self.blocks)

  def draw(
    self, rng: np.random.Generator, batch_size: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Draws block and case, int [B] each; within a block uniformly."""
    block = rng.choice(len(self.blocks), batch_size, p=self.probabilities)
    sizes = np.array([b.num_cases for b in self.blocks])
    return block, rng.integers(sizes[block])

  def batch(self, seed: Sequence[int], batch_size: int) -> Cases:
    """Draws a batch that depends on the seed alone."""
    chosen, index = self.draw(np.random.default_rng(seed), batch_size)
    parts = [
      self.blocks[b].cases(index[chosen == b]) for b in np.unique(chosen)
    ]
    return Cases(
      *(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    )


class Batches:
  """Builds the next batch while the learner works on this one."""

  def __init__(
    self,
    dataset: Dataset,
    seed: Sequence[int],
    batch_size: int,
    num_batches: int,
  ):
    """Takes the seed of all batches, to which each adds its number."""
    self._dataset, self._seed = dataset, seed
    self._batch_size, self._num_batches = batch_size, num_batches
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._next: concurrent.futures.Future[Cases] | None = None

  def take(self, number: int) -> Cases:
    """Returns a batch; to be called with numbers that count up by one."""
    future = self._next or self._submit(number)
    is_last = number + 1 >= self._num_batches
    self._next = None if is_last else self._submit(number + 1)
    return future.result()

  def close(self) -> None:
    """Drops what is not begun yet."""
    self._pool.shutdown(cancel_futures=True)

  def _submit(self, number):
    seed = [*self._seed, number]
    return self._pool.submit(self._dataset.batch, seed, self._batch_size)

"""The data set of PRL: blocks of cases, and how often each is drawn.

Mujika 2016 (arXiv:1611.01457), section 4.5.
"""

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

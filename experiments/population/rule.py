"""The rule of population based training, as pure functions.

Espeholt et al. 2018 (arXiv:1802.01561), appendix F; Hessel et al. 2018
(arXiv:1809.04474) tune "as described" there. What is printed nowhere is decided
in popart/README.md (D9).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import UserError

KINDS = ('log_uniform', 'uniform', 'categorical')


@dataclasses.dataclass(frozen=True)
class Range:
  """What a hyperparameter begins with, and how far it may go.

  Attributes:
    kind: one of KINDS.
    values: lower and upper bound, or the categories.
    minimum: smallest value that the run's flag takes.
    maximum: largest one.
  """

  kind: str
  values: tuple[float, ...]
  minimum: float = -math.inf
  maximum: float = math.inf


@dataclasses.dataclass(frozen=True)
class Rule:
  """How a population evolves.

  Attributes:
    ranges: by hyperparameter.
    burn_in_frames: of a member, before which it does not evolve.
    margin: points of fitness by which another must be better to be copied.
    probability: with which a hyperparameter is perturbed.
    factor: that it is then multiplied by, or divided by.
  """

  ranges: Mapping[str, Range]
  burn_in_frames: int
  margin: float = 5.0
  probability: float = 0.33
  factor: float = 1.2


@dataclasses.dataclass(frozen=True)
class Evolution:
  """What becomes of a member between two slices.

  Attributes:
    opponent: the member that it was compared with.
    is_copied: whether it takes over the opponent's weights and values.
    values: its hyperparameters from now on.
    perturbed: the names of those that were perturbed.
  """

  opponent: int
  is_copied: bool
  values: dict[str, float]
  perturbed: tuple[str, ...]


def parse_range(name: str, written: Any, minimum: Any, maximum: Any) -> Range:
  """Checks a range as it stands in a population file.

  Args:
    name: of the hyperparameter.
    written: ('log_uniform', low, high), ('uniform', low, high) or
      ('categorical', value, value, ...).
    minimum: of the field, None if it has none.
    maximum: of the field, None if it has none.

  Raises:
    UserError: it is none of these, or leaves the bounds of the field.
  """
  is_sequence = isinstance(written, Sequence) and not isinstance(written, str)
  if not is_sequence or not written or written[0] not in KINDS:
    raise UserError(
      f"{name} is {written!r}, not ('log_uniform', low, high), ('uniform', "
      "low, high) or ('categorical', value, ...)"
    )
  kind, *values = written
  if any(
    isinstance(v, bool)
    or not isinstance(v, (int, float))
    or not math.isfinite(v)
    for v in values
  ):
    raise UserError(f'{name}: {written!r} holds what is no finite number')
  if kind == 'categorical':
    if not values or len(set(values)) < len(values):
      raise UserError(
        f'{name}: {written!r} needs categories, each of them once'
      )
  elif len(values) != 2:
    raise UserError(f'{name}: {written!r} needs a lower and an upper bound')
  elif values[0] > values[1]:
    raise UserError(
      f'{name}: the lower bound {values[0]:g} is above the upper, {values[1]:g}'
    )
  if kind == 'log_uniform' and values[0] <= 0:
    raise UserError(f'{name}: the bounds of log_uniform must be above 0')
  bounds = {}
  if minimum is not None:
    bounds['minimum'] = float(minimum)
  if maximum is not None:
    bounds['maximum'] = float(maximum)
  found = Range(kind, tuple(float(v) for v in values), **bounds)
  for value in found.values:
    if not found.minimum <= value <= found.maximum:
      raise UserError(
        f'{name}: {value:g} is not within what --{name} takes, '
        f'{found.minimum:g} to {found.maximum:g}'
      )
  return found


def draw(rng: np.random.Generator, of: Range) -> float:
  """Returns a value to begin with."""
  if of.kind == 'categorical':
    return float(rng.choice(of.values))
  low, high = of.values
  if of.kind == 'uniform':
    return float(rng.uniform(low, high))
  value = math.exp(rng.uniform(math.log(low), math.log(high)))
  return min(max(value, low), high)  # exp(log(x)) may miss x by a bit.


def draw_all(
  rng: np.random.Generator, ranges: Mapping[str, Range]
) -> dict[str, float]:
  """Returns the hyperparameters that a member begins with."""
  return {name: draw(rng, of) for name, of in ranges.items()}


def choose_opponent(
  rng: np.random.Generator, member: int, num_members: int
) -> int:
  """Returns any other member, all with the same probability."""
  other = int(rng.integers(num_members - 1))
  return other + (other >= member)


def is_better(
  fitness: float | None, own_fitness: float | None, margin: float
) -> bool:
  """Whether another is better by more than the margin.

  None stands for a fitness that is not known yet: it is neither copied nor
  given up.
  """
  if fitness is None or own_fitness is None:
    return False
  return fitness > own_fitness + margin


def perturb(
  rng: np.random.Generator, values: Mapping[str, float], rule: Rule
) -> tuple[dict[str, float], tuple[str, ...]]:
  """Perturbs each hyperparameter with its probability, up as often as down.

  Not held to the range that it began in (D9), but to what the flag takes.

  Args:
    rng: is advanced alike whatever comes out.
    values: by hyperparameter.
    rule: of the population.

  Returns:
    The new values, and the names of those that were perturbed.
  """
  new, perturbed = {}, []
  for name, value in values.items():
    is_perturbed, is_up = rng.random() < rule.probability, rng.random() < 0.5
    if is_perturbed:
      perturbed.append(name)
      value = value * rule.factor if is_up else value / rule.factor
      of = rule.ranges[name]
      value = min(max(value, of.minimum), of.maximum)
    new[name] = value
  return new, tuple(perturbed)


def evolve(
  rng: np.random.Generator,
  member: int,
  fitnesses: Sequence[float | None],
  values: Sequence[Mapping[str, float]],
  rule: Rule,
  must_copy: bool = False,
) -> Evolution:
  """Compares a member with one other, copies if that is better, explores.

  Args:
    rng: is advanced.
    member: whose slice has ended.
    fitnesses: of every member at its last end of a slice; None: not known.
    values: the hyperparameters that each had then.
    rule: of the population.
    must_copy: copy the opponent whatever its fitness: the member's own training
      has failed.

  Returns:
    What becomes of the member.
  """
  opponent = choose_opponent(rng, member, len(fitnesses))
  is_copied = must_copy or is_better(
    fitnesses[opponent], fitnesses[member], rule.margin
  )
  source = values[opponent if is_copied else member]
  new, perturbed = perturb(rng, source, rule)
  return Evolution(opponent, is_copied, new, perturbed)

"""How PRL acts: it chooses among random sequences of controls.

Mujika 2016 (arXiv:1611.01457), section 4.4. Pure functions of tensors; the
model comes as two functions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Plan(NamedTuple):
  """What was chosen for each of N games.

  Attributes:
    sequence: int32 [N, horizon], actions; the first is to be played. -1 where
      there is none yet.
    probabilities: float32 [N, horizon, 2], of a death and of a point,
      cumulative over the horizon.
  """

  sequence: tf.Tensor
  probabilities: tf.Tensor


def empty_plan(num_games: int, horizon: int) -> Plan:
  """Returns what games begin with: no sequence."""
  return Plan(
    -tf.ones([num_games, horizon], tf.int32),
    tf.zeros([num_games, horizon, 2]),
  )


def candidate_sequences(
  previous: tf.Tensor, num_candidates: int, num_actions: int, seed: tf.Tensor
) -> tf.Tensor:
  """Draws the sequences among which is chosen.

  Args:
    previous: int32 [N, horizon], the best of the step before; -1 where a game
      has just begun.
    num_candidates: k_s.
    num_actions: A.
    seed: int32 [2].

  Returns:
    int32 [N, k_s, horizon]. The first is the previous best without its first
    action and with a random last one (D2), the others are uniformly random.
  """
  num_games, horizon = tf.unstack(tf.shape(previous))
  drawn = tf.random.stateless_uniform(
    [num_games, num_candidates, horizon],
    seed,
    minval=0,
    maxval=num_actions,
    dtype=tf.int32,
  )
  shifted = tf.concat([previous[:, 1:], drawn[:, 0, -1:]], axis=1)
  kept = tf.where(previous[:, :1] >= 0, shifted, drawn[:, 0])
  return tf.concat([kept[:, tf.newaxis], drawn[:, 1:]], axis=1)


def choose(
  death: tf.Tensor, point: tf.Tensor, survival_threshold: tf.Tensor
) -> tf.Tensor:
  """Chooses the likeliest point among sequences that are safe enough.

  Args:
    death: float32 [N, k_s], probability of dying.
    point: float32 [N, k_s], of a point.
    survival_threshold: float32 [N]; a sequence is safe enough if it is survived
      with a higher probability. None is with 1: then the safest is chosen.

  Returns:
    int32 [N], the likeliest point among the safe enough; without any, the
    safest.
  """
  is_safe = 1.0 - death > survival_threshold[:, tf.newaxis]
  likeliest = tf.argmax(
    tf.where(is_safe, point, -1.0), axis=1, output_type=tf.int32
  )
  safest = tf.argmin(death, axis=1, output_type=tf.int32)
  return tf.where(tf.reduce_any(is_safe, axis=1), likeliest, safest)


def plan(
  perceive: Callable[[tf.Tensor], tf.Tensor],
  unroll: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
  value: Callable[[tf.Tensor], tf.Tensor],
  frames: tf.Tensor,
  previous: tf.Tensor,
  controls: tf.Tensor,
  survival_threshold: tf.Tensor,
  num_candidates: int,
  seed: tf.Tensor,
  compared: str = 'last',
) -> Plan:
  """Plans for N games in one call.

  Args:
    perceive: maps frames to the states h_0, float32 [N, S]; called once.
    unroll: maps states [N * k_s, S] and controls [N * k_s, horizon, 3] to
      states [N * k_s, S] of each step; called once.
    value: maps states [., ., S] to probabilities [., ., 2].
    frames: of N games.
    previous: int32 [N, horizon], see `candidate_sequences`.
    controls: float32 [A, 3], what each action presses.
    survival_threshold: float32 [N], see `choose`.
    num_candidates: k_s.
    seed: int32 [2].
    compared: 'last', the probabilities at the end of the horizon; 'mean', their
      mean over it (D3).

  Returns:
    The Plan.
  """
  sequences = candidate_sequences(
    previous, num_candidates, controls.shape[0], seed
  )
  num_games, _, horizon = tf.unstack(tf.shape(sequences))
  states = tf.repeat(perceive(frames), num_candidates, axis=0)
  flat = tf.reshape(sequences, [-1, horizon])
  outputs = unroll(states, tf.gather(controls, flat))
  by_game = [
    tf.reshape(x, [num_games, num_candidates, x.shape[-1]]) for x in outputs
  ]
  if compared == 'last':  # Steps before are not valued: a fifth of the time.
    summary = value(by_game[-1])
  else:
    means = tf.reduce_mean(value(tf.stack(outputs, axis=1)), axis=1)
    summary = tf.reshape(means, [num_games, num_candidates, 2])
  best = choose(summary[..., 0], summary[..., 1], survival_threshold)
  chosen = [tf.gather(x, best, batch_dims=1) for x in by_game]  # [N, S] each.
  return Plan(
    tf.gather(sequences, best, batch_dims=1), value(tf.stack(chosen, axis=1))
  )

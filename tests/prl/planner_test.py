"""Tests of prl/planner.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from prl import planner

NUM_ACTIONS, HORIZON = 5, 4
SEED = tf.constant([3, 7])
# Told apart by the control, which is the action itself here.
CONTROLS = tf.cast(tf.range(NUM_ACTIONS)[:, None], tf.float32) * tf.ones(3)


def known_probabilities(sequences):
  """Death by the first action, point by the second; [..., HORIZON, 2]."""
  sequences = np.asarray(sequences)
  death = np.array([0.9, 0.45, 0.3, 0.15, 0.2])[sequences[..., 0]]
  point = np.array([0.1, 0.3, 0.5, 0.7, 0.9])[sequences[..., 1]]
  last = np.stack([death + 1e-3 * sequences[..., 2], point], axis=-1)
  steps = np.linspace(1 / HORIZON, 1, HORIZON)[:, None]
  return last[..., None, :] * steps


class StubModel:
  """Counts its calls; what it predicts is a function of the sequence."""

  def __init__(self):
    self.num_perceived, self.predicted, self.num_valued = 0, [], 0

  def perceive(self, frames):
    self.num_perceived += 1
    return tf.cast(frames, tf.float32)

  def unroll(self, states, controls):
    sequences = tf.cast(controls[..., 0], tf.int32)
    self.predicted.append((states.numpy(), sequences.numpy()))
    known = known_probabilities(sequences)
    return tf.unstack(tf.constant(known, tf.float32), axis=1)

  def value(self, states):
    self.num_valued += int(np.prod(states.shape[:-1]))
    return states


def plan(model, previous, threshold, num_candidates=30, compared='last'):
  num_games = len(previous)
  return planner.plan(
    model.perceive,
    model.unroll,
    model.value,
    tf.range(num_games)[:, None] * tf.ones([1, 2], tf.int32),
    tf.constant(previous, tf.int32),
    CONTROLS,
    tf.fill([num_games], threshold),
    num_candidates,
    SEED,
    compared,
  )


class CandidatesTest(absltest.TestCase):
  def test_previous_best_is_there_shifted(self):
    previous = tf.constant([[4, 3, 2, 1], [0, 0, 1, 2]])
    found = planner.candidate_sequences(previous, 6, NUM_ACTIONS, SEED).numpy()
    self.assertEqual(found.shape, (2, 6, HORIZON))
    np.testing.assert_array_equal(found[:, 0, :-1], [[3, 2, 1], [0, 1, 2]])

  def test_first_step_of_a_game_has_random_ones_alone(self):
    previous = planner.empty_plan(40, HORIZON).sequence
    found = planner.candidate_sequences(previous, 50, NUM_ACTIONS, SEED).numpy()
    counts = np.bincount(found.ravel(), minlength=NUM_ACTIONS)
    self.assertLen(counts, NUM_ACTIONS)
    np.testing.assert_allclose(counts / found.size, 0.2, atol=0.02)
    # The first is random too, and games differ.
    self.assertGreater(len(np.unique(found[:, 0], axis=0)), 30)

  def test_last_action_is_drawn_anew(self):
    previous = tf.zeros([400, HORIZON], tf.int32)
    found = planner.candidate_sequences(previous, 1, NUM_ACTIONS, SEED).numpy()
    counts = np.bincount(found[:, 0, -1], minlength=NUM_ACTIONS)
    self.assertGreater(counts.min(), 40)

  def test_one_candidate_is_the_previous_best(self):
    found = planner.candidate_sequences(
      tf.constant([[1, 2, 3, 4]]), 1, NUM_ACTIONS, SEED
    ).numpy()
    np.testing.assert_array_equal(found[0, 0, :3], [2, 3, 4])


class RuleTest(parameterized.TestCase):
  DEATH = [0.5, 0.1, 0.3, 0.2]
  POINT = [0.9, 0.2, 0.8, 0.4]

  @parameterized.named_parameters(
    ('all_are_safe_enough', 0.4, 0),
    ('some_are', 0.6, 2),
    ('the_bound_itself_is_not', 0.7, 3),
    ('none_is', 0.95, 1),
    ('safest_only', 1.0, 1),
  )
  def test_three_cases(self, threshold, expected):
    found = planner.choose(
      tf.constant([self.DEATH]),
      tf.constant([self.POINT]),
      tf.constant([threshold]),
    )
    self.assertEqual(found.numpy().tolist(), [expected])

  def test_a_survival_of_one_is_not_above_a_threshold_of_one(self):
    found = planner.choose(
      tf.constant([[1e-12, 0.0]]), tf.constant([[0.9, 0.1]]), tf.constant([1.0])
    )
    self.assertEqual(found.numpy().tolist(), [1])

  def test_games_have_thresholds_of_their_own(self):
    found = planner.choose(
      tf.constant([self.DEATH] * 2),
      tf.constant([self.POINT] * 2),
      tf.constant([0.4, 1.0]),
    )
    self.assertEqual(found.numpy().tolist(), [0, 1])


class PlanTest(parameterized.TestCase):
  @parameterized.product(threshold=(0.5, 0.82, 1.0), compared=('last', 'mean'))
  def test_chooses_by_the_rule(self, threshold, compared):
    model, previous = StubModel(), np.full([3, HORIZON], 1)
    chosen = plan(model, previous, threshold, 30, compared)
    ((_, sequences),) = model.predicted
    for n, candidates in enumerate(sequences.reshape(3, 30, HORIZON)):
      probabilities = known_probabilities(candidates)
      summary = probabilities[:, -1]
      if compared == 'mean':
        summary = probabilities.mean(axis=1)
      death, point = summary.astype(np.float32).T
      safe = np.flatnonzero(1 - death > np.float32(threshold))
      best = safe[point[safe].argmax()] if len(safe) else death.argmin()
      np.testing.assert_array_equal(chosen.sequence[n], candidates[best])
      np.testing.assert_allclose(
        chosen.probabilities[n], probabilities[best], rtol=1e-6
      )

  def test_perceives_once_and_predicts_all_candidates_at_once(self):
    model = StubModel()
    plan(model, np.full([3, HORIZON], -1), 0.5, 20)
    self.assertEqual(model.num_perceived, 1)
    # All at the end of the horizon, of the best every step.
    self.assertEqual(model.num_valued, 3 * 20 + 3 * HORIZON)
    ((states, sequences),) = model.predicted
    self.assertEqual(sequences.shape, (3 * 20, HORIZON))
    # The candidates of a game come with its own state.
    np.testing.assert_array_equal(states[:, 0], np.repeat([0, 1, 2], 20))

  def test_a_good_plan_is_kept(self):
    # Better than nearly all random ones: safest first action, likely point.
    model = StubModel()
    previous = np.array([[0, 3, 4, 0]])
    chosen = plan(model, previous, 0.5, 10)
    self.assertEqual(chosen.sequence.numpy()[0, :3].tolist(), [3, 4, 0])


if __name__ == '__main__':
  absltest.main()

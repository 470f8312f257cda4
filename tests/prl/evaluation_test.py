"""Tests of prl/evaluation.py: what is measured on held-out cases."""

import dataclasses
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from prl import evaluation
from prl.blocks import Block
from tests.prl.blocks_test import SPEC, played, write

NUM_ACTIONS = 5


@dataclasses.dataclass
class StubAgent:
  """Predicts a death by the last action, times `weight`; a point by frames."""

  weight: float
  env_spec: mock.Mock = dataclasses.field(
    default_factory=lambda: mock.Mock(num_actions=NUM_ACTIONS)
  )

  def predict(self, frames, actions):
    last = self.weight * tf.cast(actions[:, -1:], tf.float32)
    seen = tf.cast(frames[:, -1, 0, :1], tf.float32) / 255.0
    logits = tf.stack([last, seen], axis=-1)  # [B, 1, 2]
    return tf.repeat(logits, actions.shape[1], axis=1)


class HeldOutTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    write(folder, SPEC, played(SPEC), 1e6)
    self.blocks = [Block(folder, SPEC)]

  def test_spread_is_what_the_choice_of_actions_changes(self):
    for weight in (0.0, 2.0):
      found = evaluation.candidate_spread(
        StubAgent(weight), self.blocks, 1, seed=1
      )
      # Of 25 candidates some end with action 0, some with 4.
      expected = 1 / (1 + np.exp(-4 * weight)) - 0.5
      np.testing.assert_allclose(found, [expected, 0.0], atol=0.05)

  def test_spread_is_of_the_games_own_cases(self):
    seen = []

    class Watching(StubAgent):
      def predict(self, frames, actions):
        seen.append(frames.numpy())
        return super().predict(frames, actions)

    evaluation.candidate_spread(Watching(1.0), self.blocks, 1, seed=1)
    frames = np.concatenate(seen)[::25]
    cases = self.blocks[0].at(*self.blocks[0].held_out(1))
    np.testing.assert_array_equal(frames, cases.frames)
    every = np.concatenate(seen).reshape(len(frames), 25, *frames.shape[1:])
    self.assertTrue(np.all(every == frames[:, np.newaxis]))

  def test_curves_equal_explicit_sums(self):
    agent = StubAgent(0.5)
    found = evaluation.held_out_curves(agent, self.blocks, 0)
    cases = self.blocks[0].at(*self.blocks[0].held_out(0))
    y = 1 / (1 + np.exp(-agent.predict(*cases[:2]).numpy().astype(float)))
    expected = -np.where(cases.labels, np.log(y), np.log(1 - y)).mean(axis=0)
    np.testing.assert_allclose(found['loss'], expected, rtol=1e-6)
    np.testing.assert_allclose(found['frequency'], cases.labels.mean(axis=0))
    self.assertEqual(found['auc'].shape, (SPEC.horizon, 2))

  def test_without_held_out_cases(self):
    folder = self.create_tempdir().full_path
    spec = SPEC._replace(num_held_out=0)
    write(folder, spec, played(spec), 1e6)
    blocks = [Block(folder, spec)]
    for found in (
      evaluation.candidate_spread(StubAgent(1.0), blocks, 0, seed=1),
      evaluation.held_out_curves(StubAgent(1.0), blocks, 0)['loss'],
    ):
      self.assertTrue(np.all(np.isnan(found)))


if __name__ == '__main__':
  absltest.main()

"""Tests of core/networks/recurrent.py."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from core.networks.recurrent import LSTM, InstructionEncoder


class LSTMTest(absltest.TestCase):
  def test_equals_tf1s_cell(self):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 2, 7)).astype(np.float32)
    cell, hidden = rng.normal(size=(2, 2, 6)).astype(np.float32)
    lstm = LSTM(6, name='lstm')
    never = tf.zeros([5, 2], tf.bool)
    lstm(inputs, never, (cell, hidden))
    lstm.b.assign(rng.normal(size=24))
    outputs, state = lstm(inputs, never, (cell, hidden))
    unused = tf.zeros([6])  # Peepholes.
    for t in range(5):
      _, cell, _, _, _, _, hidden = tf.raw_ops.LSTMBlockCell(
        x=inputs[t],
        cs_prev=cell,
        h_prev=hidden,
        w=lstm.w,
        wci=unused,
        wcf=unused,
        wco=unused,
        b=lstm.b,
        forget_bias=1.0,
        cell_clip=-1.0,
        use_peephole=False,
      )
      np.testing.assert_allclose(outputs[t], hidden, atol=1e-6)
    np.testing.assert_allclose(state[0], cell, atol=1e-6)
    np.testing.assert_allclose(state[1], hidden, atol=1e-6)


class InstructionEncoderTest(absltest.TestCase):
  def test_no_words_give_zeros(self):
    encoder = InstructionEncoder()
    codes = encoder(tf.constant([[0, 0, 0], [5, 0, 0]]))
    np.testing.assert_array_equal(codes[0], np.zeros(64))
    self.assertTrue(np.all(codes[1] != 0))

  def test_looks_up_what_tf1_did(self):
    # Its optimiser touches these rows: of the words, counted from 1, and of
    # the empty string, which padded them.
    encoder = InstructionEncoder()
    with tf.GradientTape() as tape:
      code = encoder(tf.constant([[5, 1000, 0]]))
    rows = tape.gradient(code, encoder.embedding).indices
    empty = tf.strings.to_hash_bucket_fast('', 1000)
    self.assertCountEqual(rows.numpy(), [4, 999, int(empty)])

  def test_padding_does_not_count(self):
    encoder = InstructionEncoder()
    short = encoder(tf.constant([[5, 9]]))
    padded = encoder(tf.constant([[5, 9, 0, 0], [9, 5, 0, 0]]))
    np.testing.assert_allclose(padded[0], short[0], atol=1e-6)
    self.assertTrue(np.any(padded[1] != short[0]))


if __name__ == '__main__':
  absltest.main()

"""Tests of core/instructions.py."""

import json
import os
import pathlib
import subprocess
import sys

import tensorflow as tf
from absl.testing import absltest

from core.instructions import hash_words

ROOT = pathlib.Path(__file__).resolve().parents[2]


class HashWordsTest(absltest.TestCase):
  def test_hash_is_tf1s_in_every_process(self):
    sentence = 'go to the red  room'
    code = (
      'import json; from core.instructions import hash_words; '
      f'print(json.dumps(hash_words({sentence!r}, 7)))'
    )
    seed = '1' if os.environ.get('PYTHONHASHSEED') != '1' else '2'
    printed = subprocess.run(
      [sys.executable, '-c', code],
      cwd=ROOT,
      env={**os.environ, 'PYTHONHASHSEED': seed},
      check=True,
      capture_output=True,
      text=True,
      timeout=120,
    ).stdout
    found = hash_words(sentence, 7)
    self.assertEqual(json.loads(printed), found)
    # Without a session: the op that TF1 ran, for each word by itself.
    words = ('go', 'to', 'the', 'red', 'room')
    expected = [
      int(tf.strings.to_hash_bucket_fast(word, 1000)) + 1 for word in words
    ]
    self.assertEqual(found, [*expected, 0, 0])
    self.assertEqual(hash_words('', 2), [0, 0])

  def test_too_many_words(self):
    with self.assertRaisesRegex(ValueError, "3 words, at most 2 fit: 'a b c'"):
      hash_words('a b c', 2)


if __name__ == '__main__':
  absltest.main()

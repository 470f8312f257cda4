"""Instructions as word buckets."""

import tensorflow as tf

NUM_WORD_BUCKETS = 1000


def hash_words(instruction: str, instruction_length: int) -> list[int]:
  """Turns a sentence into word buckets for `Observation.instruction`.

  TF1's fast string hash (FarmHash fingerprint modulo 1000), which is the same
  in every process.

  Args:
    instruction: words separated by spaces.
    instruction_length: L, words to pad to.

  Returns:
    L integers: buckets counted from 1, then zeros.

  Raises:
    ValueError: if there are more than L words.
  """
  words = instruction.split()
  if len(words) > instruction_length:
    raise ValueError(
      f'instruction of {len(words)} words, at most {instruction_length} fit: '
      f'{instruction!r}'
    )
  buckets = []
  if words:
    hashed = tf.strings.to_hash_bucket_fast(words, NUM_WORD_BUCKETS)
    buckets = [int(bucket) + 1 for bucket in hashed]
  return buckets + [0] * (instruction_length - len(buckets))

"""Lets absltest's temporary folders work under pytest."""

from absl import flags
from absl.testing import absltest  # noqa: F401 - defines its flags.

flags.FLAGS.mark_as_parsed()

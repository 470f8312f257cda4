"""Batches for tests, of discrete and continuous actions."""

import numpy as np

from core.types import ActionBox, AgentOutput, EnvSpec
from tests.unrolls import SMALL_SPEC, learner_input, random_unroll

CONTINUOUS_SPEC = EnvSpec(
  ('a', 'b'),
  action_box=ActionBox((-2.0, 0.0), (2.0, 5.0)),
  num_features=5,
  has_time_limit=True,
)

FEATURES_SPEC = EnvSpec(('a', 'b'), num_actions=3, num_features=5)


def batch(unroll_length, batch_size, spec=SMALL_SPEC, use_lstm=False, seed=0):
  """Returns an update's input: random, off policy, all columns different."""
  unroll = random_unroll(
    unroll_length,
    batch_size,
    spec if spec.num_actions else spec._replace(num_actions=1),
    use_lstm,
    seed,
  )
  if spec.action_box is not None:
    rng = np.random.default_rng(seed + 100)
    low, high = spec.action_box[:2]
    shape = [unroll_length + 1, batch_size, len(low)]
    mean, before = rng.normal(scale=0.5, size=[2, *shape])
    log_sigma = rng.uniform(-1.0, 0.5, size=shape)
    action = low + (np.tanh(before) + 1.0) / 2.0 * np.subtract(high, low)
    recorded = np.concatenate([mean, log_sigma, before], axis=2)
    unroll = unroll._replace(
      agent_outputs=AgentOutput(np.float32(action), np.float32(recorded))
    )
  return learner_input(unroll)

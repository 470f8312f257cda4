"""Compares 2 replicas with 1; agent_test.py runs it by itself.

TensorFlow cannot split the CPU into two devices once it has begun.
"""

import json

import numpy as np
import tensorflow as tf

from pixel_control.agent import Agent
from pixel_control.config import DEBUG
from tests.runs import tiny_config
from tests.unrolls import LANGUAGE_SPEC, learner_input, random_unroll


def run(strategy: str) -> tuple[int, list, dict[str, np.ndarray]]:
  """Returns the number of replicas, each update's metrics, the variables."""
  config = tiny_config(
    DEBUG,
    strategy=strategy,
    use_lstm=True,
    momentum=0.5,
    max_gradient_norm=2.0,
    statistics_step_size=0.1,
    pixel_control_cost=0.1,
  )
  agent = Agent(config, LANGUAGE_SPEC)
  metrics = []
  for seed in range(3):
    unroll = random_unroll(4, 6, LANGUAGE_SPEC, use_lstm=True, seed=seed)
    found = agent.update(learner_input(unroll), tf.constant(0.01))
    metrics.append({name: x.numpy().tolist() for name, x in found.items()})
  variables = {n: v.numpy() for n, v in agent.variables().items()}
  return agent.strategy.num_replicas_in_sync, metrics, variables


def main() -> None:
  """Prints, as JSON, how two replicas differ from one device."""
  (cpu,) = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
  )
  num_replicas, metrics, variables = run('mirrored')
  _, expected_metrics, expected = run('one_device')
  assert variables.keys() == expected.keys()
  differences = {
    name: (
      float(np.max(np.abs(variables[name] - value))),
      float(np.max(np.abs(value))),
    )
    for name, value in expected.items()
  }
  result = dict(
    num_replicas=num_replicas,
    metrics=[metrics, expected_metrics],
    differences=differences,
  )
  print(json.dumps(result))


if __name__ == '__main__':
  main()

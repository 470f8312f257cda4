"""STACX's agent with actors that have the weights of some updates ago."""

from typing import Any

import tensorflow as tf

from core.device import Device
from core.types import EnvSpec, Unroll
from stacx import agent as stacx_agent


class Agent(stacx_agent.Agent):
  """Learns as its parent does, and acts as it did some updates ago."""

  def __init__(self, config: Any, env_spec: EnvSpec, device: Device):
    """Creates the learner's network, the actors', and those between."""
    super().__init__(config, env_spec, device)
    self._acting = stacx_agent.Agent(config, env_spec, device)
    self.act = self._acting.act
    self._update_learner, self.update = self.update, self._update_and_age
    with device.scope():
      # Entry i is i updates old.
      self._history = [
        tf.Variable(
          tf.repeat(weights[None], config.policy_age + 1, axis=0),
          trainable=False,
        )
        for weights in self.network.trainable_variables
      ]
    for weights, acting in zip(
      self.network.trainable_variables,
      self._acting.network.trainable_variables,
      strict=True,
    ):
      acting.assign(weights)
    self._age = tf.function(self._age, autograph=False)

  def _update_and_age(self, unroll: Unroll, learning_rate: tf.Tensor):
    metrics = self._update_learner(unroll, learning_rate)
    self._age()
    return metrics

  def _age(self):
    """Makes all weights an update older; the actors get the oldest."""
    for history, weights, acting in zip(
      self._history,
      self.network.trainable_variables,
      self._acting.network.trainable_variables,
      strict=True,
    ):
      history.assign(tf.concat([weights[None], history[:-1]], axis=0))
      acting.assign(history[-1])

  def variables(self) -> dict[str, tf.Variable]:
    """Returns every variable, the older weights among them."""
    found = super().variables()
    for i, (history, acting) in enumerate(
      zip(self._history, self._acting.network.trainable_variables, strict=True)
    ):
      found[f'history/{i}'] = history
      found[f'acting/{i}'] = acting
    return found

"""Trains an agent whose actors have the weights of some updates ago.

    python -m experiments.stacx.off_policyness_run \\
      --flagfile=experiments/stacx/wide_catch.flags --policy_age=20 \\
      --logdir=runs/off_policyness

Takes the flags of stacx.experiment and one more. With --actor_mode=sync and one
batch per round, all data are exactly so old. The same command resumes, to the
bit: checkpoints hold the older weights too.
"""

import dataclasses

import tensorflow as tf

from core import flags, modes
from core.config import field
from core.device import Device
from core.types import EnvSpec, Unroll
from stacx import agent as stacx_agent
from stacx import config as stacx_config


@dataclasses.dataclass(frozen=True)
class Config(stacx_config.Config):
  """One run; every field is a flag of the same name."""

  policy_age: int = field(
    0,
    'Updates that the weights of the actors are behind.',
    minimum=0,
    maximum=1000,
  )


PRESETS = {
  name: Config(**dataclasses.asdict(preset))
  for name, preset in stacx_config.PRESETS.items()
}


class Agent(stacx_agent.Agent):
  """Learns as its parent does, and acts as it did some updates ago."""

  def __init__(self, config: Config, env_spec: EnvSpec, device: Device):
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
    self._age = tf.function(self._age, autograph=False)
    self._age(is_new=tf.constant(False))

  def _update_and_age(self, unroll: Unroll, learning_rate: tf.Tensor):
    metrics = self._update_learner(unroll, learning_rate)
    self._age(is_new=tf.constant(True))
    return metrics

  def _age(self, is_new):
    """Hands the oldest weights to the actors; `is_new` makes all older."""
    for history, weights, acting in zip(
      self._history,
      self.network.trainable_variables,
      self._acting.network.trainable_variables,
      strict=True,
    ):
      older = tf.concat([weights[None], history[:-1]], axis=0)
      history.assign(tf.where(is_new, older, history))
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


def main(unused_argv: list[str]) -> None:
  """Runs what the flags ask for."""
  modes.run(flags.resolve(Config, PRESETS), Agent)


if __name__ == '__main__':
  flags.define(Config, PRESETS)
  flags.run(main)

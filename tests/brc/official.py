"""Numbers of the official code: two updates, and its reward normaliser.

`official_two_updates.npz` was computed by naumix/BiggerRegularizedCategorical,
commit eec512f, on a CPU in float32 (jax 0.4.35, flax 0.10.2, optax 0.2.4). Two
sets: w64 has its hyperparameters; w16 larger rates, weight decay and Polyak, so
that every term shows. Flat vectors are the parameters in the order of their
Flax names.
"""

import dataclasses
import pathlib

import numpy as np

from brc.agent import Agent
from brc.config import Config
from core.device import Device
from core.types import ActionBox, EnvSpec, Transitions

DATA = np.load(pathlib.Path(__file__).with_name('official_two_updates.npz'))
SPEC = EnvSpec(
  ('a', 'b', 'c'),
  action_box=ActionBox((-1.0,) * 4, (1.0,) * 4),
  num_features=10,
)
_CRITIC = 'q_value_ensemble/q_value_ensemble/critic/'
_PARTS = {'w': 'Dense_{}/kernel', 'b': 'Dense_{}/bias'}
_PARTS |= {'norm/scale': 'LayerNorm_{}/scale'}
_PARTS |= {'norm/offset': 'LayerNorm_{}/bias'}


def flax_name(name: str) -> str:
  """Returns the Flax name of a variable of ours."""
  if name.endswith('embedding'):
    return 'task_embedding/embeddings/embedding'
  network, layer, *part = name.split('/')
  prefix = _CRITIC if network == 'critic' else 'BroNet_0/'
  if layer.startswith('block_'):
    number, part = ('first', 'second').index(part[0]), part[1:]
    prefix += f'BronetBlock_{layer[-1]}/'
  else:
    number = dict(input=0, head=1, mean=0, log_std=1)[layer]
    prefix = '' if layer in ('mean', 'log_std') else prefix
  return prefix + _PARTS['/'.join(part)].format(number)


class OfficialUpdates:
  """One of the two sets, and an agent that starts from it.

  Attributes:
    agent: with the official parameters.
    hyper: by name, the hyperparameters of the set.
  """

  NAMES = (
    *('learning_rate', 'weight_decay', 'polyak', 'temperature_learning_rate'),
    *('discounting', 'target_entropy', 'num_atoms', 'v_max'),
  )

  def __init__(self, label: str):
    """Builds the agent; `label` is w64 or w16."""
    self._label = label
    self.hyper = dict(zip(self.NAMES, self.get('hyper'), strict=True))
    width = int(label[1:])
    config = dataclasses.replace(
      Config(),
      critic_width=width,
      actor_width=width,
      critic_learning_rate=self.hyper['learning_rate'],
      actor_learning_rate=self.hyper['learning_rate'],
      temperature_learning_rate=self.hyper['temperature_learning_rate'],
      weight_decay=self.hyper['weight_decay'],
      polyak=self.hyper['polyak'],
    )
    self.agent = Agent(config, SPEC, Device(xla='off'))
    networks = self.agent.networks
    self.trees = {
      'critic': networks.critic_variables,
      'target': networks.target_variables,
      'actor': list(networks.actor.trainable_variables),
    }
    self._set_parameters()

  def get(self, name: str) -> np.ndarray:
    """Returns an array of this set."""
    return DATA[f'{self._label}/{name}']

  def batch(self, i: int) -> tuple[Transitions, np.ndarray, np.ndarray]:
    """Returns transitions, noise of next actions and of actions of update i."""
    names = ('obs', 'actions', 'rewards', 'next_obs', 'masks')
    arrays = [np.float32(self.get(name)[i]) for name in names]
    noise = (self.get(f'noise_{name}')[i] for name in ('next', 'actor'))
    batch = Transitions(np.int32(self.get('task_ids')[i]), *arrays)
    return batch, *noise

  def info(self, i: int) -> dict[str, float]:
    """Returns what the official code logged in update i."""
    return dict(zip(self.get('info_names'), self.get('info')[i], strict=True))

  def flat(self, tree: str, values: list[np.ndarray]) -> np.ndarray:
    """Returns values, one per variable, as one vector in the official order."""
    names = [flax_name(v.name.removesuffix(':0')) for v in self.trees[tree]]
    by_name = dict(zip(names, values, strict=True))
    order = self.get(f'{self._official(tree)}_names')
    return np.concatenate([np.ravel(by_name[name]) for name in order])

  def expected(self, name: str) -> tuple[slice, np.ndarray]:
    """Returns which entries of a vector are recorded, and their values."""
    key = f'{self._label}/{name}'
    if key in DATA:
      return slice(None), DATA[key]
    return slice(None, None, 53), DATA[f'{key}_every53']

  def _official(self, tree):
    return 'actor' if tree == 'actor' else 'critic'

  def _set_parameters(self):
    for tree in ('critic', 'actor'):
      flat = np.float32(self.get(f'init_{tree}'))
      shapes = self.get(f'{tree}_shapes')
      sizes = [np.prod([int(n) for n in s.split()]) for s in shapes]
      parts = np.split(flat, np.cumsum(sizes)[:-1])
      by_name = dict(zip(self.get(f'{tree}_names'), parts, strict=True))
      for variable in self.trees[tree]:
        value = by_name[flax_name(variable.name.removesuffix(':0'))]
        variable.assign(np.reshape(value, variable.shape))
    for target, online in zip(
      self.trees['target'], self.trees['critic'], strict=True
    ):
      value = online.numpy()
      if 'embedding' in online.name:
        value = np.roll(value, 1, axis=0)
      target.assign(np.float32(0.95) * value)

"""The Real-World RL challenge: DeepMind Control behind faulty sensors.

Dulac-Arnold et al. 2020 (arXiv:2003.11881), the combined challenges of
google-research/realworldrl_suite, whose order of effects and constants these
are. In every control step

- the action is delayed, then noisy and clipped to its bounds, then held;
- the observation is noisy, components drop to 0, components stick to what was
  sent last, the whole is delayed, and numbers without meaning are appended;
- the reward is delayed.

As there, queues and faults go on from one episode to the next: an episode
begins with what the previous one left in them.
"""

import dataclasses
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
from gymnasium import spaces

from core.environments import control
from core.environments.control import ControlEnv, ControlProtocol
from core.environments.control_state import pack, unpack


@dataclasses.dataclass(frozen=True)
class Challenge:
  """How faulty everything is. Steps are control steps.

  Attributes:
    action_delay: steps until an action is carried out.
    observation_delay: steps until an observation is seen.
    reward_delay: steps until a reward is given.
    action_noise: standard deviation of each number.
    observation_noise: standard deviation of each feature.
    drop_probability: that a feature which is not dropped drops in a step.
    drop_steps: how long it is 0.
    stick_probability: that a feature which is not stuck sticks in a step.
    stick_steps: how long it stays what it was.
    hold_steps: how long an action is carried out, whatever follows it.
    num_dummies: numbers drawn from N(0, 1) that are appended.
  """

  action_delay: int = 0
  observation_delay: int = 0
  reward_delay: int = 0
  action_noise: float = 0.0
  observation_noise: float = 0.0
  drop_probability: float = 0.0
  drop_steps: int = 1
  stick_probability: float = 0.0
  stick_steps: int = 1
  hold_steps: int = 1
  num_dummies: int = 0


CHALLENGES = {
  'easy': Challenge(3, 3, 10, 0.1, 0.1, 0.01, 1, 0.01, 1, 1, 10),
  'medium': Challenge(6, 6, 20, 0.3, 0.3, 0.05, 5, 0.05, 5, 2, 20),
  'hard': Challenge(9, 9, 40, 1.0, 1.0, 0.1, 10, 0.1, 10, 3, 50),
}
"""The combined challenges."""

PERTURBATIONS = {
  'cartpole/swingup': {  # Length of the pole, m; its mass is a tenth, kg.
    'easy': (0.9, 1.1),
    'medium': (0.7, 1.7),
    'hard': (0.5, 2.3),
  },
  'walker/walk': {  # Half the length of the thighs, m.
    'easy': (0.225, 0.25),
    'medium': (0.225, 0.4),
    'hard': (0.225, 0.55),
  },
  'quadruped/walk': {  # How far a shin reaches ahead and down, m.
    'easy': (0.25, 0.3),
    'medium': (0.25, 0.8),
    'hard': (0.25, 1.4),
  },
  'humanoid/walk': {  # Sliding friction of the body and the floor.
    'easy': (0.6, 0.8),
    'medium': (0.5, 0.9),
    'hard': (0.4, 1.0),
  },
}
"""Of what, by task and level, every episode draws uniformly between two."""


class RealWorldEnv(ControlEnv):
  """One task of dm_control's suite with a challenge, from features."""

  def __init__(
    self,
    task: str,
    protocol: ControlProtocol,
    challenge: Challenge,
    perturbation: tuple[float, float],
  ):
    """Compiles the unperturbed model.

    Args:
      task: a key of `PERTURBATIONS`.
      protocol: how to play; an agent's action is repeated before all effects.
      challenge: how faulty everything is.
      perturbation: bounds of what `perturbed_xml` puts into the model.

    Raises:
      UserError: dm_control is missing.
    """
    self._challenge = challenge
    super().__init__(task, protocol)
    self._domain = task.partition('/')[0]
    self._perturbation = perturbation
    self._effects = None
    if self._domain == 'quadruped':
      self._task = _upright_walk()

  def reset(
    self, *, seed: int | None = None, options: dict[str, Any] | None = None
  ) -> tuple[np.ndarray, dict[str, Any]]:
    """Begins an episode with another body; `seed` starts all anew."""
    if seed is not None:
      self._effects = None
    return super().reset(seed=seed, options=options)

  def get_state(self) -> dict[str, Any]:
    """Returns all that `set_state` needs, as JSON can hold it."""
    return dict(
      parameter=self._parameter,
      generator=self.np_random.bit_generator.state,
      effects=self._effects.get_state(),
      **super().get_state(),
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`; call it after `reset`."""
    self._perturb(state['parameter'])
    self.np_random.bit_generator.state = state['generator']
    self._effects.set_state(state['effects'])
    super().set_state(state)

  def _space(self):
    size = super()._features().size + self._challenge.num_dummies
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)

  def _begin(self):
    if self._effects is None:
      self._effects = Effects(
        self._challenge, self._low, self._high, self.np_random
      )
    self._perturb(self.np_random.uniform(*self._perturbation))
    super()._begin()
    self._observed = self._effects.observe(super()._features())

  def _control_step(self, action):
    reward = super()._control_step(self._effects.act(action))
    self._observed = self._effects.observe(super()._features())
    return self._effects.reward(reward)

  def _features(self):
    return self._observed

  def _perturb(self, parameter):
    self._parameter = float(parameter)
    xml, assets = perturbed_xml(self._domain, self._parameter)
    kind = type(self._physics)
    self._physics.free()
    self._use(kind.from_xml_string(xml, assets))


class Effects:
  """What happens between an agent and a task, but for the perturbed body."""

  def __init__(
    self,
    challenge: Challenge,
    low: np.ndarray,
    high: np.ndarray,
    rng: np.random.Generator,
  ):
    """Begins with empty queues and no fault.

    Args:
      challenge: how faulty everything is.
      low: float64 [D], bounds of the actions.
      high: likewise.
      rng: of all that is drawn.
    """
    self._challenge = challenge
    self._low, self._high, self._rng = low, high, rng
    self._actions = _Delay(challenge.action_delay)
    self._observations = _Delay(challenge.observation_delay)
    self._rewards = _Delay(challenge.reward_delay)
    self._held, self._num_held = np.zeros_like(low), 0
    self._drop_left = self._stick_left = self._sent = None

  def act(self, action: np.ndarray) -> np.ndarray:
    """Returns the action [D] that is carried out instead of another."""
    challenge = self._challenge
    action = self._actions(action)
    action = self._rng.normal(action, challenge.action_noise)
    action = np.clip(action, self._low, self._high)
    if self._num_held == 0:
      self._held, self._num_held = action, challenge.hold_steps
    self._num_held -= 1
    return self._held

  def observe(self, features: np.ndarray) -> np.ndarray:
    """Returns what is seen, [F + dummies], of features float64 [F]."""
    challenge = self._challenge
    features = self._rng.normal(features, challenge.observation_noise)
    if self._sent is None:
      self._drop_left, self._stick_left = np.zeros([2, features.size], np.int64)
      self._sent = features
    dropped = self._fail(
      self._drop_left, challenge.drop_probability, challenge.drop_steps
    )
    features = np.where(dropped, 0.0, features)
    stuck = self._fail(
      self._stick_left, challenge.stick_probability, challenge.stick_steps
    )
    # In the first step nothing was sent: a feature sticks to what it is.
    self._sent = np.where(stuck, self._sent, features)
    dummies = self._rng.normal(size=challenge.num_dummies)
    return np.concatenate([self._observations(self._sent), dummies])

  def reward(self, reward: float) -> float:
    """Returns the reward of some steps ago."""
    return self._rewards(reward)

  def get_state(self) -> dict[str, Any]:
    """Returns all but the generator, as JSON can hold it, after a reset."""
    arrays = dict(
      held=self._held,
      sent=self._sent,
      drop_left=self._drop_left,
      stick_left=self._stick_left,
    )
    return dict(
      actions=[pack(action) for action in self._actions.queue],
      observations=[pack(sent) for sent in self._observations.queue],
      rewards=list(self._rewards.queue),
      num_held=self._num_held,
      **{name: pack(array) for name, array in arrays.items()},
    )

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from `get_state`, after a reset."""
    self._held = unpack(state['held'], self._low)
    self._sent = unpack(state['sent'], self._sent)
    self._drop_left = unpack(state['drop_left'], self._drop_left)
    self._stick_left = unpack(state['stick_left'], self._stick_left)
    self._num_held = state['num_held']
    self._actions.queue = [unpack(x, self._low) for x in state['actions']]
    self._observations.queue = [
      unpack(x, self._sent) for x in state['observations']
    ]
    self._rewards.queue = list(state['rewards'])

  def _fail(self, left, probability, num_steps):
    """Returns which components fail now, bool [F]; counts down `left`."""
    begins = self._rng.random(left.size) < probability
    left[(left == 0) & begins] = num_steps
    is_failing = left > 0
    left[is_failing] -= 1
    return is_failing


class _Delay:
  """Hands out what came some steps ago; at first, what came first."""

  def __init__(self, num_steps):
    self._num_steps = num_steps
    self.queue = []

  def __call__(self, item):
    if not self.queue:
      self.queue = [item] * self._num_steps
    self.queue.append(item)
    return self.queue.pop(0)


def feature_names(task: str, challenge: Challenge) -> tuple[str, ...]:
  """Names the features of a task with a challenge, in their order."""
  dummies = (f'dummy[{i}]' for i in range(challenge.num_dummies))
  return *control.feature_names(task), *dummies


def perturbed_xml(
  domain: str, parameter: float
) -> tuple[bytes, dict[str, bytes]]:
  """Returns the model of a domain with another body, and its assets.

  Args:
    domain: of a task of `PERTURBATIONS`.
    parameter: what is said there.
  """
  from dm_control.suite import cartpole, common, humanoid, quadruped, walker

  edit, xml = {
    'cartpole': (_set_pole, cartpole.get_model_and_assets()[0]),
    'walker': (_set_thighs, walker.get_model_and_assets()[0]),
    'quadruped': (_set_shins, quadruped.make_model(floor_size=10)),
    'humanoid': (_set_friction, humanoid.get_model_and_assets()[0]),
  }[domain]
  model = ElementTree.fromstring(xml)
  edit(model, parameter)
  # Nobody looks up, and compiling the sky takes 60 ms of every reset.
  no_sky = {'./common/skybox.xml': b'<mujoco><asset/></mujoco>'}
  return ElementTree.tostring(model), {**common.ASSETS, **no_sky}


def _set_pole(model, length):
  pole = model.find('./default/default[@class="pole"]/geom')
  pole.set('fromto', f'0 0 0 0 0 {length}')
  pole.set('mass', str(length / 10.0))


def _set_thighs(model, half_length):
  for thigh in model.findall('./worldbody/body/body/geom'):
    thigh.set('pos', f'0 0 {-half_length}')
    thigh.set('size', f'0.05 {half_length}')
  for leg in model.findall('./worldbody/body/body/body'):
    leg.set('pos', f'0 0 {-0.25 - 2 * half_length}')


def _set_shins(model, reach):
  shin = model.find('./default/default/default[@class="knee"]/geom')
  shin.set('fromto', f'0 0 0 {reach} 0 {-reach}')
  for ankle in model.findall('./worldbody/body/body/body/body'):
    ankle.set('pos', f'{reach} 0 {-reach}')


def _set_friction(model, friction):
  body = model.find('./default/default[@class="body"]/geom')
  for geom in (body, model.find('./worldbody/geom[@name="floor"]')):
    geom.set('friction', f'{friction} .1 .1')


def _upright_walk():
  """Returns dm_control's quadruped/walk, begun upright as the challenge does.

  Of itself it begins in any orientation; here only the heading is drawn.
  """
  from dm_control.suite import base, quadruped

  class UprightWalk(quadruped.Move):
    def initialize_episode(self, physics):
      half = self.random.uniform(0.0, math.pi)
      orientation = np.array([math.cos(half), 0.0, 0.0, math.sin(half)])
      quadruped._find_non_contacting_height(physics, orientation)
      base.Task.initialize_episode(self, physics)

  return UprightWalk(desired_speed=0.5)

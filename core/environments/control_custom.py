"""Eleven tasks in the style of dm_control's suite that dm_control lacks.

Hansen et al. 2024 (TD-MPC2, arXiv:2310.16828) added them to dm_control's
domains; Nauman et al. 2025 (arXiv:2505.23150, E.1) train on them beside 19 of
dm_control's own. Rewards and models are written here from the numbers of
their code; observations, resets and time limits (1000 control steps) are
dm_control's where nothing else is said. Of the reacher's last link it is not
known how much shorter than the link its capsule is: here by 2 cm, as of the two
links of dm_control, which matters to its mass alone.
"""

import math
from typing import Any
from xml.etree import ElementTree

import numpy as np

TASKS = (
  *('walker/walk_backwards', 'walker/run_backwards'),
  *('cheetah/run_backwards', 'cheetah/run_front', 'cheetah/run_back'),
  *('cheetah/jump', 'hopper/hop_backwards'),
  *('reacher/three_easy', 'reacher/three_hard'),
  *('ball_in_cup/spin', 'pendulum/spin'),
)
"""Their names, domain/task."""

_WALKER_SPEEDS = {'walk_backwards': 1.0, 'run_backwards': 8.0}  # m/s
_WALKER_HEIGHT = 1.2  # Of the torso that stands, m; likewise of the cheetah.
_CHEETAH_HEIGHT = 1.2
_CHEETAH_BACKWARDS = 8.0  # Half of the fastest, m/s.
_CHEETAH_ON_A_FOOT = 6.0
_HOPPER_HEIGHT = 0.6
_HOPPER_SPEED = 1.0
_REACHER_LINK = 0.09  # Of three links, m; of two, 0.12.
_REACHER_RANGE = 80  # Of the two inner joints to either side, degrees.
_REACHER_TARGETS = {'three_easy': 0.05, 'three_hard': 0.015}  # Radius, m.
_CUP_DISTANCE = 0.5  # Of a ball that spins, m.
_CUP_SPEED = 6.0
_CUP_FREE = 0.1  # Probability that the ball may begin outside of the cup.
_PENDULUM_SPEED = 9.0  # rad/s


def load(task: str) -> Any:
  """Returns a dm_control Environment of one of `TASKS`.

  dm_control must be importable, with MUJOCO_GL as it shall be.
  """
  domain, name = task.split('/')
  make = {
    'walker': _walker,
    'cheetah': _cheetah,
    'hopper': _hopper,
    'reacher': _reacher,
    'ball_in_cup': _ball_in_cup,
    'pendulum': _pendulum,
  }[domain]
  return make(name)


def _above(value, bound, margin, value_at_margin=0.5):
  """Returns 1 above a bound, and less in a line below it."""
  from dm_control.utils import rewards

  return rewards.tolerance(
    float(value),
    bounds=(bound, math.inf),
    margin=margin,
    value_at_margin=value_at_margin,
    sigmoid='linear',
  )


def _upright(height, bound):
  """Returns 1 above a height, and ever less below it: a tenth at half of it."""
  from dm_control.utils import rewards

  return rewards.tolerance(float(height), (bound, math.inf), bound / 2)


def _walker(name):
  from dm_control.rl import control
  from dm_control.suite import walker

  speed = _WALKER_SPEEDS[name]

  class Backwards(walker.PlanarWalker):
    def get_reward(self, physics):
      standing = _upright(physics.torso_height(), _WALKER_HEIGHT)
      standing = (3 * standing + (1 + physics.torso_upright()) / 2) / 4
      moving = _above(-physics.horizontal_velocity(), speed, speed / 2)
      return standing * (5 * moving + 1) / 6

  physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
  physics.named.model.geom_size['floor', 'x'] = 500  # It is drawn so far.
  return control.Environment(
    physics, Backwards(speed), time_limit=25, control_timestep=0.025
  )


def _cheetah(name):
  from dm_control.rl import control
  from dm_control.suite import cheetah

  reward = {
    'run_backwards': _cheetah_backwards,
    'run_front': lambda physics: _cheetah_on_a_foot(physics, 'bfoot'),
    'run_back': lambda physics: _cheetah_on_a_foot(physics, 'ffoot'),
    'jump': _cheetah_jump,
  }[name]

  class Cheetah(cheetah.Cheetah):
    def get_reward(self, physics):
      return reward(physics)

  physics = cheetah.Physics.from_xml_string(*cheetah.get_model_and_assets())
  physics.named.model.geom_size['ground', 'x'] = 200  # It is drawn so far.
  return control.Environment(physics, Cheetah(), time_limit=10)


def _cheetah_backwards(physics):
  fastest = _CHEETAH_BACKWARDS
  return _above(-physics.speed(), fastest, fastest, value_at_margin=0)


def _cheetah_on_a_foot(physics, lifted):
  """Running with one foot, called as the other, and the torso high up."""
  heights = physics.named.data.xpos[[lifted, 'torso'], 'z']
  foot, torso = (_upright(height, _CHEETAH_HEIGHT) for height in heights)
  fastest = _CHEETAH_ON_A_FOOT
  running = _above(physics.speed(), fastest, fastest, value_at_margin=0)
  return (3 * foot + 2 * torso) / 5 * (5 * running + 1) / 6


def _cheetah_jump(physics):
  """Torso and feet high up, in place."""
  from dm_control.utils import rewards

  resting = rewards.tolerance(
    float(physics.speed()), (-0.5, 0.5), 0.5, 'linear', value_at_margin=0
  )
  torso, *feet = physics.named.data.xpos[['torso', 'bfoot', 'ffoot'], 'z']
  jumping = [_upright((torso + foot) / 2, _CHEETAH_HEIGHT) for foot in feet]
  return float(np.mean([(5 * jump + resting) / 6 for jump in jumping]))


def _hopper(unused_name):
  from dm_control.rl import control
  from dm_control.suite import hopper
  from dm_control.utils import rewards

  class Backwards(hopper.Hopper):
    def get_reward(self, physics):
      standing = rewards.tolerance(float(physics.height()), (_HOPPER_HEIGHT, 2))
      fastest = _HOPPER_SPEED
      return standing * _above(-physics.speed(), fastest, fastest / 2)

  physics = hopper.Physics.from_xml_string(*hopper.get_model_and_assets())
  return control.Environment(
    physics, Backwards(hopping=True), time_limit=20, control_timestep=0.02
  )


def _reacher(name):
  from dm_control.rl import control
  from dm_control.suite import reacher

  xml, assets = reacher.get_model_and_assets()
  physics = reacher.Physics.from_xml_string(_three_links(xml), assets)
  task = reacher.Reacher(target_size=_REACHER_TARGETS[name])
  return control.Environment(physics, task, time_limit=20)


def _three_links(xml):
  """Returns the model of reacher with three links between root and finger."""
  model = ElementTree.fromstring(xml)
  arm = model.find('./worldbody/body[@name="arm"]')
  hand = arm.find('body')
  finger = hand.find('body')
  middle = ElementTree.Element('body', name='middle', pos='')
  arm.remove(hand)
  arm.append(middle)
  middle.append(ElementTree.fromstring(ElementTree.tostring(arm.find('geom'))))
  middle.find('geom').set('name', 'middle')
  ElementTree.SubElement(middle, 'joint', name='shoulder1')
  middle.append(hand)
  arm.find('joint').set('name', 'shoulder0')
  for joint in (middle.find('joint'), hand.find('joint')):
    joint.set('limited', 'true')
    joint.set('range', f'-{_REACHER_RANGE} {_REACHER_RANGE}')
  for body in (middle, hand, finger):
    body.set('pos', f'{_REACHER_LINK} 0 0')
  for body in (arm, middle):
    body.find('geom').set('fromto', f'0 0 0 {_REACHER_LINK} 0 0')
  hand.find('geom').set('fromto', f'0 0 0 {_REACHER_LINK - 0.02} 0 0')
  shoulder = model.find('./actuator/motor[@name="shoulder"]')
  shoulder.attrib.update(name='shoulder0', joint='shoulder0')
  motor = ElementTree.Element('motor', name='shoulder1', joint='shoulder1')
  model.find('./actuator').insert(1, motor)
  return ElementTree.tostring(model)


def _ball_in_cup(unused_name):
  from dm_control.rl import control
  from dm_control.suite import ball_in_cup, base

  class Spin(ball_in_cup.BallInCup):
    def initialize_episode(self, physics):
      may_be_outside = self.random.uniform() < _CUP_FREE
      while True:
        physics.named.data.qpos['ball_x'] = self.random.uniform(-0.2, 0.2)
        physics.named.data.qpos['ball_z'] = self.random.uniform(0.2, 0.5)
        physics.after_reset()
        is_fine = may_be_outside or physics.in_target()
        if is_fine and physics.data.ncon == 0:
          break
      base.Task.initialize_episode(self, physics)

    def get_reward(self, physics):
      distance = np.linalg.norm(physics.ball_to_target())
      velocity = physics.named.data.qvel[['ball_x', 'ball_z']]
      far = _above(distance, _CUP_DISTANCE, _CUP_DISTANCE / 2)
      fast = _above(np.linalg.norm(velocity), _CUP_SPEED, _CUP_SPEED / 2)
      return (1 - physics.in_target()) * (far + 2 * fast) / 3

  physics = ball_in_cup.Physics.from_xml_string(
    *ball_in_cup.get_model_and_assets()
  )
  return control.Environment(
    physics, Spin(), time_limit=20, control_timestep=0.02
  )


def _pendulum(unused_name):
  from dm_control.rl import control
  from dm_control.suite import pendulum

  class Spin(pendulum.SwingUp):
    def get_reward(self, physics):
      speed = abs(float(physics.angular_velocity().item()))
      return _above(speed, _PENDULUM_SPEED, _PENDULUM_SPEED / 2)

  physics = pendulum.Physics.from_xml_string(*pendulum.get_model_and_assets())
  return control.Environment(physics, Spin(), time_limit=20)

"""The structures that travel between environments, actors and learners.

Axes are written as capital letters: T agent steps of an unroll, B columns of a
batch (one environment each), N environments of a vector environment, A discrete
actions, D numbers of a continuous action, F features, H W C the frame.
Everything is time-major: `[T, B, ...]`.
"""

from typing import Any, NamedTuple

import numpy as np


class ActionBox(NamedTuple):
  """Continuous actions: D numbers between bounds.

  Attributes:
    low: least value of each number, a tuple of D.
    high: greatest value of each.
    task_sizes: per task, how many of the D numbers it reads: the first ones;
      the others are padding. () where all tasks read all.
  """

  low: tuple[float, ...]
  high: tuple[float, ...]
  task_sizes: tuple[int, ...] = ()

  def stretch(self, actions: Any) -> Any:
    """Takes actions from [-1, 1] to the bounds; arrays or tensors [N, D]."""
    low, high = np.float32(self.low), np.float32(self.high)
    if np.all(low == -1.0) and np.all(high == 1.0):
      return actions
    return low + 0.5 * (actions + 1.0) * (high - low)


class EnvSpec(NamedTuple):
  """What an agent must know about its environments.

  Attributes:
    task_names: one name per task; a task id is an index into this tuple.
    num_actions: A, the size of the discrete action set; 0 where actions are
      continuous.
    action_box: continuous actions; None where they are discrete.
    frame_shape: shape of one frame, `[H, W, C]`, or `[C, H, W]` if
      `channels_first` (Atari: C is the stack of the last 4 frames); () without
      frames.
    channels_first: whether frames arrive as `[C, H, W]`.
    instruction_length: L, words in an instruction; 0 without language.
    num_features: F, length of the feature vector; 0 without one.
    task_num_features: per task, how many of the F features are its own: the
      first ones, the others are 0. () where all tasks have F.
    has_success: whether a task tells if an episode succeeded.
    has_time_limit: whether a clock that the agent does not see ends episodes;
      `EnvOutput.truncated` then says where.
  """

  task_names: tuple[str, ...]
  num_actions: int = 0
  action_box: ActionBox | None = None
  frame_shape: tuple[int, ...] = ()
  channels_first: bool = False
  instruction_length: int = 0
  num_features: int = 0
  task_num_features: tuple[int, ...] = ()
  has_success: bool = False
  has_time_limit: bool = False

  def zero_actions(self, num_rows: int) -> np.ndarray:
    """Returns the action before the first one: int32 [N] or float32 [N, D]."""
    if self.action_box is None:
      return np.zeros(num_rows, np.int32)
    return np.zeros([num_rows, len(self.action_box.low)], np.float32)


class Observation(NamedTuple):
  """What the agent sees; what an environment does not give is ().

  Attributes:
    frame: uint8 `[..., *frame_shape]`.
    instruction: int32 `[..., L]`, word buckets counted from 1, 0 is padding.
    features: float32 `[..., F]`.
  """

  frame: Any = ()
  instruction: Any = ()
  features: Any = ()


class EpisodeInfo(NamedTuple):
  """Book-keeping of whole episodes; it never enters a loss.

  Attributes:
    episode_return: float32 `[...]`, sum of raw rewards since the episode began,
      this step included.
    episode_step: int32 `[...]`, agent steps since the episode began.
    episode_done: bool `[...]`, the whole episode ended here. On Atari a lost
      life ends what the agent learns from (`done`) but not the episode.
    episode_success: float32 `[...]`, 1 if a step of the episode succeeded, this
      one included, else 0; NaN of a task that cannot. () where none can.
  """

  episode_return: Any
  episode_step: Any
  episode_done: Any
  episode_success: Any = ()


class EnvOutput(NamedTuple):
  """What an environment returns for one agent step.

  Attributes:
    reward: float32 `[...]`, raw (unclipped) reward of the step.
    info: EpisodeInfo, or an empty tuple once it was read.
    done: bool `[...]`, the episode ended with this step. The observation is
      then already the first one of the next episode.
    observation: Observation.
    truncated: bool `[...]`, `done` came from a time limit and from nothing
      else; () unless the EnvSpec `has_time_limit`.
  """

  reward: Any
  info: Any
  done: Any
  observation: Observation
  truncated: Any = ()


class AgentOutput(NamedTuple):
  """What the agent returns for one step.

  Attributes:
    action: int32 `[...]`, or float32 `[..., D]` if actions are continuous.
    policy_logits: float32 `[..., A]`, the policy that the action was sampled
      from; of continuous actions, `[..., P]`, the parameters of their
      distribution in the agent's order.
  """

  action: Any
  policy_logits: Any


class Unroll(NamedTuple):
  """T agent steps of B environments, with one entry of overlap.

  Entry 0 of `env_outputs` and `agent_outputs` repeats the last entry of the
  previous unroll. `agent_outputs.action[t]` is the action that led to
  `env_outputs[t]`; `agent_outputs.policy_logits[t]` is the policy it was
  sampled from, computed from `env_outputs[t - 1]`.

  Attributes:
    task_id: int32 `[B]`.
    policy_version: int64 `[B]`, number of learner updates behind the weights
      that the first step of the unroll used; an empty tuple once it was read.
    core_state: recurrent state with which entry 0 must be processed, each
      float32 `[B, ...]`; an empty tuple without recurrence.
    env_outputs: EnvOutput, each `[T + 1, B, ...]`.
    agent_outputs: AgentOutput, each `[T + 1, B, ...]`.
  """

  task_id: Any
  policy_version: Any
  core_state: Any
  env_outputs: EnvOutput
  agent_outputs: AgentOutput


class Transitions(NamedTuple):
  """Single steps of off-policy experience.

  Attributes:
    task_id: int32 `[...]`.
    features: float32 `[..., F]`, padded with zeros.
    action: float32 `[..., D]`, each number between -1 and 1.
    reward: float32 `[...]`, raw.
    next_features: float32 `[..., F]`; at the end of an episode those of its
      last step, not of the next episode.
    goes_on: float32 `[...]`, 0 where the episode terminated and was not
      truncated, else 1.
  """

  task_id: Any
  features: Any
  action: Any
  reward: Any
  next_features: Any
  goes_on: Any


class FrameTransitions(NamedTuple):
  """Experience of several steps of tasks that are seen in frames.

  Attributes:
    task_id: int32 `[...]`.
    frame: uint8 `[..., *frame_shape]`.
    action: int32 `[...]`, of the first step.
    rewards: float32 `[..., n]`, raw, of up to n steps; 0 after the episode.
    next_frame: uint8 `[..., *frame_shape]`, what the steps led to; without
      meaning where the episode terminated.
    num_steps: int32 `[...]`, steps that it spans: n, less where the episode
      ended before.
    goes_on: float32 `[...]`, 0 where the episode terminated and was not
      truncated, else 1.
  """

  task_id: Any
  frame: Any
  action: Any
  rewards: Any
  next_frame: Any
  num_steps: Any
  goes_on: Any


class Episode(NamedTuple):
  """One finished episode, as recorded.

  Attributes:
    env_frames: int, the learner's frame counter after the update that was made
      from its end.
    task_name: str.
    episode_return: float, raw.
    episode_length: int, environment frames (agent steps x action repeats).
    episode_success: bool, a step of it succeeded; None of a task that cannot.
  """

  env_frames: int
  task_name: str
  episode_return: float
  episode_length: int
  episode_success: bool | None = None

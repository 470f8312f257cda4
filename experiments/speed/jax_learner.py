"""The learners of `export.py` as one would write them in JAX, to compare speed.

Nothing else uses this file. The update is IMPALA's and PopArt's (networks,
V-trace, losses, clipping, TF1's RMSProp, statistics and preserved outputs),
with `lax.scan` for what runs over time. Its arguments and results are those
of the exported program, so the same code checks and times both.

Axes are written as in core.types: T agent steps, B columns, N value heads.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

PADDING_BUCKET = 263  # As in core.networks: of the empty string.


def lower(manifest: dict[str, Any]) -> str:
  """Return the update's StableHLO text, its variables donated.

  Needs jax_enable_x64, for PopArt's statistics.

  Args:
    manifest: of the exported learner to write again.

  Raises:
    NotImplementedError: of STACX and BRC, which were not written in JAX.
  """
  if 'num_heads' in manifest['config']:
    raise NotImplementedError('STACX was not written in JAX')
  if 'torso' not in manifest['config']:
    raise NotImplementedError('BRC was not written in JAX')
  names = [described['name'] for described in manifest['inputs']]
  outputs = manifest['outputs']

  def update(*arrays):
    arguments = dict(zip(names, arrays, strict=True))
    results = _update(manifest, arguments)
    return tuple(results[described['name']] for described in outputs)

  donated = {described['replaces_input'] for described in outputs} - {None}
  shapes = [
    jax.ShapeDtypeStruct(described['shape'], described['dtype'])
    for described in manifest['inputs']
  ]
  jitted = jax.jit(update, donate_argnums=sorted(donated), keep_unused=True)
  return jitted.lower(*shapes).as_text()


def _update(manifest, arguments):
  """Take one step; return metrics and new variables by name."""
  config = manifest['config']
  moments = {k: v for k, v in arguments.items() if k.startswith('rmsprop_mom')}
  names = [name.split('/', 1)[1] for name in moments]
  weights = {name: arguments[name] for name in names}
  batch = {
    name.removeprefix('unroll.'): array
    for name, array in arguments.items()
    if name.startswith('unroll.')
  }
  statistics = None
  if 'popart/shift' in arguments:
    statistics = (arguments['popart/shift'], arguments['popart/second_moment'])
  loss = jax.value_and_grad(_loss, has_aux=True)
  (_, (metrics, targets)), gradients = loss(
    weights, batch, statistics, manifest
  )
  norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients.values()))
  metrics['gradient_norm'] = norm
  if config['max_gradient_norm']:
    limit = config['max_gradient_norm']
    scale = limit * jnp.minimum(1.0 / norm, 1.0 / limit)
    gradients = {name: scale * g for name, g in gradients.items()}
  results = {}
  for name in names:
    touched = None
    if name.endswith('embedding'):
      touched = _touched_rows(batch, len(weights[name]))
    results |= _rmsprop(config, arguments, name, gradients[name], touched)
  if statistics is not None:
    more = _popart_step(config, results, statistics, batch, targets)
    metrics |= {key: more.pop(key) for key in ('shift', 'scale')}
    results |= more
  return metrics | results


def _rmsprop(config, arguments, name, gradient, touched):
  """Return a weight and its slots after TF1's RMSProp."""
  keys = (name, f'rmsprop_mean_square/{name}', f'rmsprop_moment/{name}')
  weight, mean_square, moment = (arguments[key] for key in keys)
  decay, rate = config['decay'], arguments['learning_rate']
  new_mean_square = decay * mean_square + (1 - decay) * jnp.square(gradient)
  new_moment = config['momentum'] * moment + rate * gradient * lax.rsqrt(
    new_mean_square + config['epsilon']
  )
  step = new_moment
  if touched is not None:
    touched = touched[:, None]
    new_mean_square = jnp.where(touched, new_mean_square, mean_square)
    step = jnp.where(touched, new_moment, 0.0)
    new_moment = jnp.where(touched, new_moment, moment)
  new = (weight - step, new_mean_square, new_moment)
  return dict(zip(keys, new, strict=True))


def _touched_rows(batch, num_rows):
  """Return which rows of the embedding the batch looked up, bool [rows]."""
  buckets = _buckets(batch['env_outputs.observation.instruction'])
  return jnp.zeros(num_rows, bool).at[buckets.ravel()].set(True)


def _buckets(words):
  return jnp.where(words > 0, words - 1, PADDING_BUCKET)


# The network.


def _network(weights, batch, manifest):
  """Return logits [T + 1, B, A] and values [T + 1, B, N]."""
  actions = batch['agent_outputs.action']
  num_actions = weights['agent/policy_logits/w'].shape[1]
  reward = jnp.clip(batch['env_outputs.reward'], -1.0, 1.0)
  features = [
    _visual(weights, batch['env_outputs.observation.frame'], manifest),
    reward.reshape(-1, 1),
    jax.nn.one_hot(actions.ravel(), num_actions, dtype=jnp.float32),
  ]
  if 'env_outputs.observation.instruction' in batch:
    words = batch['env_outputs.observation.instruction']
    features.append(_encode(weights, words.reshape(-1, words.shape[-1])))
  features = jnp.concatenate(features, axis=1)
  features = features.reshape(*actions.shape, -1)
  if 'agent/core/w' in weights:
    state = (batch['core_state.0'], batch['core_state.1'])
    reset = batch['env_outputs.done'][..., None]
    layer = (weights['agent/core/w'], weights['agent/core/b'])
    features, _ = _lstm(layer, features, state, reset=reset)
  logits = _linear(weights, 'agent/policy_logits', features)
  return logits, _linear(weights, 'agent/baseline', features)


def _linear(weights, name, x):
  return x @ weights[f'{name}/w'] + weights[f'{name}/b']


def _visual(weights, frames, manifest):
  """Return what the torso makes of the frames, float32 [(T + 1) B, 256]."""
  frames = frames.reshape(-1, *frames.shape[2:])
  if manifest['channels_first']:
    frames = frames.transpose(0, 2, 3, 1)
  x = (frames.astype(jnp.float32) / 255.0).astype(manifest['precision'])
  torso = _deep if manifest['config']['torso'] == 'deep' else _shallow
  x = jax.nn.relu(torso(weights, x)).astype(jnp.float32)
  x = _linear(weights, 'agent/torso_linear', x.reshape(x.shape[0], -1))
  return jax.nn.relu(x)


def _conv(weights, name, x, stride=1, padding='SAME'):
  x = lax.conv_general_dilated(
    x,
    weights[f'{name}/w'].astype(x.dtype),
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  # A bias per image: its gradient's long sum over images is then in float32.
  b = jnp.broadcast_to(weights[f'{name}/b'], (len(x), 1, 1, x.shape[-1]))
  return x + b.astype(x.dtype)


def _shallow(weights, x):
  x = _conv(weights, 'agent/shallow_torso/conv1', x, 4, 'VALID')
  return _conv(weights, 'agent/shallow_torso/conv2', jax.nn.relu(x), 2, 'VALID')


def _deep(weights, x):
  for section in range(3):
    name = f'agent/deep_torso/section{section}_conv'
    x = _conv(weights, f'{name}0', x)
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    x = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, 'SAME')
    for first in (1, 3):
      residual = _conv(weights, f'{name}{first}', jax.nn.relu(x))
      x += _conv(weights, f'{name}{first + 1}', jax.nn.relu(residual))
  return x


def _lstm(layer, inputs, state, reset=None, is_step=None):
  """Run TF1's LSTM cell over [T, B, F]; return outputs and last state."""
  w, b = layer
  w_input, w_hidden = jnp.split(w, [inputs.shape[-1]])
  # One product for all time steps; only the state's goes step by step.
  gates_of_inputs = inputs @ w_input + b

  def step(state, now):
    gates, reset_now, is_step_now = now
    if reset_now is not None:
      state = tuple(jnp.where(reset_now, 0.0, x) for x in state)
    cell, hidden = state
    i, j, f, o = jnp.split(gates + hidden @ w_hidden, 4, axis=-1)
    new_cell = jax.nn.sigmoid(f + 1.0) * cell
    new_cell += jax.nn.sigmoid(i) * jnp.tanh(j)
    new_hidden = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
    if is_step_now is not None:
      new_cell = jnp.where(is_step_now, new_cell, cell)
      new_hidden = jnp.where(is_step_now, new_hidden, hidden)
    return (new_cell, new_hidden), new_hidden

  state, outputs = lax.scan(step, state, (gates_of_inputs, reset, is_step))
  return outputs, state


def _encode(weights, instructions):
  """Return the language LSTM's output at the last word, [(T + 1) B, 64]."""
  name = 'agent/instruction_encoder'
  words = instructions.T  # [L, (T + 1) B]
  embedded = weights[f'{name}/embedding'][_buckets(words)]
  w, b = (weights[f'{name}/language_lstm/{x}'] for x in 'wb')
  zeros = jnp.zeros((words.shape[1], 64), jnp.float32)
  is_step = (words > 0)[..., None]
  _, state = _lstm((w, b), embedded, (zeros, zeros), is_step=is_step)
  return state[1]


# The loss.


def _loss(weights, batch, statistics, manifest):
  """Return the total loss, and its parts with the value targets [T, B]."""
  config = manifest['config']
  logits, values = _network(weights, batch, manifest)
  heads = _heads(batch, values.shape[-1])
  normalized = jnp.take_along_axis(values, heads[None, :, None], 2)[..., 0]
  shift, scale = jnp.float32(0.0), jnp.float32(1.0)
  if statistics is not None:
    scale = _scale(config, statistics)[heads].astype(jnp.float32)
    shift = statistics[0][heads].astype(jnp.float32)
  values = scale * normalized + shift

  actions = batch['agent_outputs.action'][1:]
  behaviour_log_probs = _log_probs(
    batch['agent_outputs.policy_logits'][1:], actions
  )
  target_log_probs = _log_probs(logits[:-1], actions)
  rewards = _clip_rewards(
    batch['env_outputs.reward'][1:], config['reward_clipping']
  )
  not_done = ~batch['env_outputs.done'][1:]
  discounts = not_done.astype(jnp.float32) * config['discounting']
  log_rhos = lax.stop_gradient(target_log_probs - behaviour_log_probs)
  targets, advantages = _vtrace(
    log_rhos, discounts, rewards, lax.stop_gradient(values)
  )
  policy_loss = -jnp.sum(target_log_probs * advantages / scale)
  errors = (targets - shift) / scale - normalized[:-1]
  baseline_loss = config['baseline_cost'] * 0.5 * jnp.sum(jnp.square(errors))
  log_policy = jax.nn.log_softmax(logits[:-1])
  negative_entropy = jnp.sum(jnp.exp(log_policy) * log_policy)
  entropy_loss = config['entropy_cost'] * negative_entropy
  total = policy_loss + baseline_loss + entropy_loss
  metrics = dict(
    total_loss=total,
    policy_gradient_loss=policy_loss,
    baseline_loss=baseline_loss,
    entropy_loss=entropy_loss,
    negative_entropy=negative_entropy,
  )
  return total, (metrics, targets)


def _log_probs(logits, actions):
  log_policy = jax.nn.log_softmax(logits)
  return jnp.take_along_axis(log_policy, actions[..., None], -1)[..., 0]


def _clip_rewards(rewards, mode):
  if mode == 'abs_one':
    return jnp.clip(rewards, -1.0, 1.0)
  if mode == 'none':
    return rewards
  raise ValueError(f'not written in JAX: --reward_clipping={mode}')


def _vtrace(log_rhos, discounts, rewards, values):
  """Return V-trace's targets and advantages, [T, B]; values are [T + 1, B]."""
  rhos = jnp.minimum(1.0, jnp.exp(log_rhos))  # c-bar and rho-bar are 1.
  deltas = rhos * (rewards + discounts * values[1:] - values[:-1])

  def step(later, now):
    delta, factor = now
    later = delta + factor * later
    return later, later

  zeros = jnp.zeros_like(deltas[0])
  _, differences = lax.scan(
    step, zeros, (deltas, discounts * rhos), reverse=True
  )
  targets = differences + values[:-1]
  later_targets = jnp.concatenate([targets[1:], values[-1:]])
  advantages = rhos * (rewards + discounts * later_targets - values[:-1])
  return targets, advantages


# PopArt.


def _heads(batch, num_heads):
  task_id = batch['task_id']
  return jnp.zeros_like(task_id) if num_heads == 1 else task_id


def _scale(config, statistics):
  shift, second_moment = statistics
  scale = jnp.sqrt(jnp.maximum(second_moment - jnp.square(shift), 0.0))
  return jnp.clip(
    scale, config['scale_lower_bound'], config['scale_upper_bound']
  )


def _popart_step(config, weights, statistics, batch, targets):
  """Return statistics and value layer after the update, and its metrics."""
  mean = jnp.mean(targets.astype(jnp.float64), axis=0)
  if config['second_moment'] != 'square_of_mean':
    raise ValueError('not written in JAX: another --second_moment')
  shift, second_moment = statistics
  heads = _heads(batch, shift.shape[0])
  keep = 1.0 - config['statistics_step_size']

  # Rollouts one after another: a later one of the same task weighs more.
  is_head = jax.nn.one_hot(heads, shift.shape[0], dtype=jnp.float64)
  num_later = jnp.cumsum(is_head[::-1], axis=0)[::-1] - is_head
  share = is_head * config['statistics_step_size'] * keep**num_later  # [B, N]
  kept = keep ** jnp.sum(is_head, axis=0)
  new_shift = kept * shift + mean @ share
  new_second_moment = kept * second_moment + jnp.square(mean) @ share
  old_scale = _scale(config, statistics)
  new_scale = _scale(config, (new_shift, new_second_moment))
  w, b = weights['agent/baseline/w'], weights['agent/baseline/b']
  new_w = w.astype(jnp.float64) * old_scale / new_scale
  new_b = old_scale * b.astype(jnp.float64) + shift - new_shift
  return {
    'shift': new_shift,
    'scale': new_scale,
    'popart/shift': new_shift,
    'popart/second_moment': new_second_moment,
    'agent/baseline/w': new_w.astype(w.dtype),
    'agent/baseline/b': (new_b / new_scale).astype(b.dtype),
  }

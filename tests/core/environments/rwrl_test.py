"""Tests of core/environments/rwrl.py."""

import json

import numpy as np
from absl.testing import absltest, parameterized

from core.environments import control, rwrl
from core.environments.control import ControlProtocol
from core.environments.rwrl import (
  CHALLENGES,
  PERTURBATIONS,
  Challenge,
  Effects,
  RealWorldEnv,
)

PROTOCOL = ControlProtocol()
LOW, HIGH = np.array([-1.0, -0.5, 0.0]), np.array([1.0, 0.8, 0.3])

# What the models have of themselves.
STANDARD = {
  'cartpole/swingup': 1.0,
  'walker/walk': 0.225,
  'quadruped/walk': 0.25,
  'humanoid/walk': 0.7,
}

every_task = parameterized.parameters(*STANDARD)


class SlowEffects:
  """The same by whole histories, number by number, in the order of the draws.

  realworldrl_suite says what happens to an item of step t.
  """

  def __init__(self, challenge, rng):
    self._challenge, self._rng = challenge, rng
    self._given, self._observed, self._rewards, self._carried_out = (
      [] for _ in range(4)
    )
    self._fails_until = {'drop': {}, 'stick': {}}

  def act(self, action):
    challenge = self._challenge
    self._given.append(list(action))
    delayed = self._given[max(0, len(self._given) - 1 - challenge.action_delay)]
    noisy = [
      min(max(self._rng.normal(a, challenge.action_noise), low), high)
      for a, low, high in zip(delayed, LOW, HIGH, strict=True)
    ]
    if len(self._carried_out) % challenge.hold_steps:
      noisy = self._carried_out[-1]
    self._carried_out.append(noisy)
    return noisy

  def observe(self, features):
    challenge, rng = self._challenge, self._rng
    sent = [rng.normal(x, challenge.observation_noise) for x in features]
    before = self._observed[-1] if self._observed else list(sent)
    for i, is_failing in enumerate(self._fail('drop', len(sent))):
      if is_failing:
        sent[i] = 0.0
    if not self._observed:
      before = list(sent)
    for i, is_failing in enumerate(self._fail('stick', len(sent))):
      if is_failing:
        sent[i] = before[i]
    self._observed.append(sent)
    t = len(self._observed) - 1
    seen = self._observed[max(0, t - challenge.observation_delay)]
    return seen + [rng.normal() for _ in range(challenge.num_dummies)]

  def reward(self, reward):
    self._rewards.append(reward)
    t = len(self._rewards) - 1
    return self._rewards[max(0, t - self._challenge.reward_delay)]

  def _fail(self, kind, size):
    probability = getattr(self._challenge, f'{kind}_probability')
    num_steps = getattr(self._challenge, f'{kind}_steps')
    t, until = len(self._observed), self._fails_until[kind]
    for i in range(size):
      begins = self._rng.random() < probability
      if begins and until.get(i, 0) <= t:
        until[i] = t + num_steps
    return [until.get(i, 0) > t for i in range(size)]


class ConstantsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('action_delay', 'action_delay', 3, 6, 9),
    ('observation_delay', 'observation_delay', 3, 6, 9),
    ('reward_delay', 'reward_delay', 10, 20, 40),
    ('action_noise', 'action_noise', 0.1, 0.3, 1.0),
    ('observation_noise', 'observation_noise', 0.1, 0.3, 1.0),
    ('drop_probability', 'drop_probability', 0.01, 0.05, 0.1),
    ('drop_steps', 'drop_steps', 1, 5, 10),
    ('stick_probability', 'stick_probability', 0.01, 0.05, 0.1),
    ('stick_steps', 'stick_steps', 1, 5, 10),
    ('hold_steps', 'hold_steps', 1, 2, 3),
    ('num_dummies', 'num_dummies', 10, 20, 50),
  )
  def test_challenges(self, name, easy, medium, hard):
    self.assertEqual(list(CHALLENGES), ['easy', 'medium', 'hard'])
    found = [getattr(challenge, name) for challenge in CHALLENGES.values()]
    self.assertEqual(found, [easy, medium, hard])

  @parameterized.named_parameters(
    ('pole', 'cartpole/swingup', (0.9, 1.1), (0.7, 1.7), (0.5, 2.3)),
    ('thigh', 'walker/walk', (0.225, 0.25), (0.225, 0.4), (0.225, 0.55)),
    ('shin', 'quadruped/walk', (0.25, 0.3), (0.25, 0.8), (0.25, 1.4)),
    ('friction', 'humanoid/walk', (0.6, 0.8), (0.5, 0.9), (0.4, 1.0)),
  )
  def test_perturbations(self, task, easy, medium, hard):
    self.assertEqual(
      PERTURBATIONS[task], {'easy': easy, 'medium': medium, 'hard': hard}
    )
    self.assertLen(PERTURBATIONS, 4)


class EffectsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('none', Challenge()),
    ('action_delay', Challenge(action_delay=3)),
    ('observation_delay', Challenge(observation_delay=4)),
    ('reward_delay', Challenge(reward_delay=10)),
    ('action_noise', Challenge(action_noise=0.5)),
    ('observation_noise', Challenge(observation_noise=0.5)),
    ('dropped', Challenge(drop_probability=0.05, drop_steps=4)),
    ('stuck', Challenge(stick_probability=0.05, stick_steps=4)),
    ('always_dropped', Challenge(drop_probability=1.0)),
    ('always_stuck', Challenge(stick_probability=1.0)),
    ('held', Challenge(hold_steps=3)),
    ('dummies', Challenge(num_dummies=7)),
    *((level, challenge) for level, challenge in CHALLENGES.items()),
  )
  def test_equals_an_explicit_simulation(self, challenge):
    effects = Effects(challenge, LOW, HIGH, np.random.default_rng(5))
    slow = SlowEffects(challenge, np.random.default_rng(5))
    rng = np.random.default_rng(0)
    changes = dict(action=0, features=0, reward=0)
    for _ in range(300):
      action, features = rng.uniform(LOW, HIGH), rng.normal(size=5)
      reward = float(rng.random())
      acted = effects.act(action)
      np.testing.assert_array_equal(acted, slow.act(action))
      given = effects.reward(reward)
      self.assertEqual(given, slow.reward(reward))
      seen = effects.observe(features)
      np.testing.assert_array_equal(seen, slow.observe(features))
      self.assertLen(seen, 5 + challenge.num_dummies)
      changes['action'] += np.any(acted != action)
      changes['features'] += np.any(seen[:5] != features)
      changes['reward'] += given != reward
    # The challenge changes what it is about, and nothing else.
    parts = {
      'action': ('action_delay', 'action_noise', 'hold_steps'),
      'features': (
        *('observation_delay', 'observation_noise'),
        *('drop_probability', 'stick_probability'),
      ),
      'reward': ('reward_delay',),
    }
    null = Challenge()
    for part, names in parts.items():
      is_changed = any(getattr(challenge, n) != getattr(null, n) for n in names)
      self.assertEqual(changes[part] > 50, is_changed, part)
      self.assertEqual(changes[part] > 0, is_changed, part)

  def test_nothing_given_is_written_to(self):
    effects = Effects(CHALLENGES['hard'], LOW, HIGH, np.random.default_rng(5))
    action, features = np.zeros(3), np.ones(4)
    seen = [effects.observe(features) for _ in range(30)]
    kept = np.array(seen)
    for _ in range(30):
      effects.act(action)
      effects.observe(features)
    np.testing.assert_array_equal(np.array(seen), kept)
    np.testing.assert_array_equal(action, np.zeros(3))
    np.testing.assert_array_equal(features, np.ones(4))

  def test_rates(self):
    challenge = CHALLENGES['medium']
    effects = Effects(challenge, LOW, HIGH, np.random.default_rng(5))
    size = 2000
    seen = np.array([effects.observe(np.full(size, 9.0)) for _ in range(120)])
    seen, dummies = seen[20:, :size], seen[20:, size:]
    # A feature works for 1 / p steps less one, then it is dropped for 5.
    rate = 5.0 / (5.0 + 1.0 / 0.05 - 1.0)
    self.assertAlmostEqual(np.mean(seen == 0.0), rate, delta=0.02)
    # With noise, equal values in a row are stuck (or dropped).
    is_stuck = (seen[1:] == seen[:-1]) & (seen[1:] != 0.0)
    self.assertAlmostEqual(np.mean(is_stuck), rate * (1 - rate), delta=0.02)
    self.assertAlmostEqual(np.std(seen[seen != 0.0]), 0.3, delta=0.01)
    self.assertAlmostEqual(np.std(dummies), 1.0, delta=0.05)
    self.assertAlmostEqual(np.mean(dummies), 0.0, delta=0.1)


class RealWorldEnvTest(parameterized.TestCase):
  def make(self, task, level=None, protocol=PROTOCOL, **challenge):
    """Builds an environment of a level, or with some effects on its own."""
    if level is not None:
      challenge, bounds = CHALLENGES[level], PERTURBATIONS[task][level]
    else:
      challenge, bounds = Challenge(**challenge), (STANDARD[task],) * 2
    env = RealWorldEnv(task, protocol, challenge, bounds)
    self.addCleanup(env.close)
    return env

  def actions(self, env, num_steps, seed=0):
    rng = np.random.default_rng(seed)
    box = env.action_space
    return rng.uniform(box.low, box.high, [num_steps, *box.shape])

  def run_steps(self, env, actions):
    outputs = []
    for action in actions:
      features, reward, terminated, truncated, _ = env.step(action)
      outputs.append([*features, reward, terminated, truncated])
      if truncated:
        outputs.append([*env.reset()[0], 0.0, False, False])
    return np.array(outputs)

  @parameterized.parameters('cartpole/swingup', 'walker/walk')
  def test_without_effects_equals_dm_controls_own(self, task):
    env, plain = self.make(task), control.ControlEnv(task, PROTOCOL)
    self.addCleanup(plain.close)
    for seed in (3, None):
      features, _ = env.reset(seed=seed)
      np.testing.assert_array_equal(features, plain.reset(seed=seed)[0])
      actions = self.actions(env, 50)
      np.testing.assert_array_equal(
        self.run_steps(env, actions), self.run_steps(plain, actions)
      )

  def test_equals_dm_controls_own_behind_an_explicit_simulation(self):
    env = self.make('cartpole/swingup', 'hard')
    rng = np.random.default_rng(9)
    slow = SlowEffects(CHALLENGES['hard'], rng)
    with_bounds = dict(LOW=np.array([-1.0]), HIGH=np.array([1.0]))
    self.enter_context(absltest.mock.patch.multiple(__name__, **with_bounds))
    plain = control.ControlEnv('cartpole/swingup', PROTOCOL)
    self.addCleanup(plain.close)
    plain._task.random.seed(9)
    for episode in range(2):
      features, _ = env.reset(seed=None if episode else 9)
      parameter = rng.uniform(0.5, 2.3)
      xml, assets = rwrl.perturbed_xml('cartpole', parameter)
      plain._use(type(plain._physics).from_xml_string(xml, assets))
      plain.reset()
      expected = slow.observe(plain._features())
      np.testing.assert_array_equal(features, np.float32(expected))
      actions = self.actions(env, 120, seed=episode)
      for action in np.float32(actions):
        features, reward, *_ = env.step(action)
        plain.step(slow.act(action.astype(np.float64)))
        raw = plain._task.get_reward(plain._physics)
        self.assertEqual(reward, slow.reward(raw))
        expected = slow.observe(plain._features())
        np.testing.assert_array_equal(features, np.float32(expected))

  def test_an_episode_begins_with_what_the_last_one_left(self):
    task = 'cartpole/swingup'
    env = self.make(task, reward_delay=10, observation_delay=3)
    plain = self.make(task)
    actions = self.actions(env, 1000)
    for given in (env, plain):
      given.reset(seed=2)
    delayed, own = (self.run_steps(e, actions) for e in (env, plain))
    self.assertTrue(delayed[999, -1])
    np.testing.assert_array_equal(delayed[3:1001, :-3], own[:998, :-3])
    np.testing.assert_array_equal(delayed[10:1000, -3], own[:990, -3])
    delayed, own_next = (self.run_steps(e, actions[:20]) for e in (env, plain))
    np.testing.assert_array_equal(delayed[:3, :-3], own[998:1001, :-3])
    np.testing.assert_array_equal(
      delayed[:, -3], [*own[990:1000, -3], *own_next[:10, -3]]
    )

  @every_task
  def test_length_and_size(self, task):
    env = self.make(task, 'medium', ControlProtocol(num_action_repeats=50))
    features, _ = env.reset(seed=0)
    plain, actions = control.spaces_of(task, PROTOCOL)
    self.assertEqual(features.shape, (plain.shape[0] + 20,))
    self.assertEqual(features.dtype, np.float32)
    self.assertEqual(env.observation_space.shape, features.shape)
    self.assertEqual(env.action_space, actions)
    self.assertLen(
      rwrl.feature_names(task, CHALLENGES['medium']), features.size
    )
    outputs = self.run_steps(env, self.actions(env, 20))
    self.assertEqual(outputs[:, -1].nonzero()[0].tolist(), [19])
    self.assertFalse(outputs[:, -2].any())

  def test_actions_are_clipped_before_the_noise_too(self):
    outputs = []
    for action in (7.0, 1.0):
      env = self.make('walker/walk', action_noise=0.5)
      env.reset(seed=0)
      outputs.append(self.run_steps(env, np.full([10, 6], action)))
    np.testing.assert_array_equal(*outputs)

  def test_effects_are_of_control_steps(self):
    env = self.make('walker/walk', 'hard', ControlProtocol(4))
    single = self.make('walker/walk', 'hard')
    for given in (env, single):
      given.reset(seed=2)
    for action in self.actions(env, 25):
      features, reward, *_ = env.step(action)
      singles = [single.step(action) for _ in range(4)]
      np.testing.assert_array_equal(features, singles[-1][0])
      self.assertAlmostEqual(reward, sum(s[1] for s in singles), places=12)

  @every_task
  def test_state_there_and_back_is_exact(self, task):
    env, other = self.make(task, 'hard'), self.make(task, 'hard')
    actions = self.actions(env, 60)
    env.reset(seed=1)
    other.reset(seed=2)
    self.run_steps(other, actions[:5])
    for num_before in (0, 31):
      self.run_steps(env, actions[:num_before])
      other.set_state(json.loads(json.dumps(env.get_state())))
      np.testing.assert_array_equal(
        self.run_steps(env, actions), self.run_steps(other, actions)
      )
      np.testing.assert_array_equal(env.reset()[0], other.reset()[0])

  def test_seeds(self):
    env, other = (self.make('humanoid/walk', 'easy') for _ in range(2))
    actions = self.actions(env, 30)
    env.reset(seed=1)
    first = self.run_steps(env, actions)
    env.reset()
    self.assertTrue(np.any(first != self.run_steps(env, actions)))
    for given in (env, other):
      given.reset(seed=1)
      np.testing.assert_array_equal(first, self.run_steps(given, actions))
    other.reset(seed=2)
    self.assertTrue(
      np.all(first[:, :-3] != self.run_steps(other, actions)[:, :-3])
    )


if __name__ == '__main__':
  absltest.main()

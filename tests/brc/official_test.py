"""BRC against numbers that the official code computed."""

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized

from brc import categorical
from brc.reward_normalizer import RewardNormalizer, denominators
from tests.brc.official import DATA, OfficialUpdates

LOSSES = {
  'critic_loss': 1e-5,
  'actor_loss': 1e-5,
  'temp_loss': 1e-5,
  'critic_gnorm': 1e-5,
  'actor_gnorm': 1e-5,
  'temperature': 1e-7,
  'entropy': 5e-5,
  'r': 1e-6,
}
OURS = {
  'temp_loss': 'temperature_loss',
  'critic_gnorm': 'gradient_norm',
  'actor_gnorm': 'actor_gradient_norm',
  'r': 'reward_mean',
}


class TwoUpdatesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('official_hyperparameters', 'w64', 2e-6), ('sensitised', 'w16', 5e-6)
  )
  def test_two_updates(self, label, tolerance):
    official = OfficialUpdates(label)
    agent = official.agent
    self.assertEqual(agent._target_entropy, official.hyper['target_entropy'])
    earlier = None
    for i in range(2):
      self._check_target(official, i)
      inputs = tf.nest.map_structure(tf.constant, official.batch(i))
      metrics = agent.gradient_step(*inputs)
      info = official.info(i)
      for name, bound in LOSSES.items():
        found = float(metrics[OURS.get(name, name)])
        np.testing.assert_allclose(found, info[name], atol=bound, err_msg=name)
      earlier = self._check_gradients(official, i, earlier)
      for tree, variables in official.trees.items():
        found = official.flat(tree, [v.numpy() for v in variables])
        entries, expected = official.expected(f'after_{tree}_{i}')
        np.testing.assert_allclose(found[entries], expected, atol=tolerance)
        norm = official.get(f'after_{tree}_{i}_check')[0]
        np.testing.assert_allclose(np.linalg.norm(found), norm, rtol=1e-6)
      np.testing.assert_allclose(
        agent.log_temperature, official.get('log_temp')[i], atol=1e-6
      )

  def _check_target(self, official, i):
    """Compares the expectations of the projected distributions."""
    batch, next_noise, _ = official.batch(i)
    target = official.agent.critic_target(batch, next_noise)
    found = categorical.expectation(target, categorical.make_support(101, 10.0))
    info = official.info(i)
    for name, reduce in (('mean', np.mean), ('min', np.min), ('max', np.max)):
      self.assertAlmostEqual(reduce(found), info[f'q_{name}'], delta=1e-5)

  def _check_gradients(self, official, i, earlier):
    """Compares gradients, as the moments show them; returns the moments."""
    agent = official.agent
    means = {}
    for tree, optimizer in (
      ('critic', agent.critic_optimizer),
      ('actor', agent.actor_optimizer),
    ):
      means[tree] = official.flat(tree, [m.numpy() for m in optimizer.means])
      before = 0.0 if earlier is None else earlier[tree]
      gradient = (means[tree] - 0.9 * before) / 0.1
      entries, expected = official.expected(f'grad_{tree}_{i}')
      np.testing.assert_allclose(gradient[entries], expected, atol=1e-5)
      norm = official.get(f'grad_{tree}_{i}_check')[0]
      np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-5)
    return means


class NormaliserTest(absltest.TestCase):
  def test_equals_the_official_one_exactly(self):
    data = {
      name.removeprefix('normaliser/'): DATA[name]
      for name in DATA
      if name.startswith('normaliser/')
    }
    num_steps, num_tasks = data['rewards'].shape
    normalizer = RewardNormalizer(num_tasks, 0.99)
    for t in range(num_steps):
      rewards = data['rewards'][t]
      normalizer.add(rewards, data['terminal'][t], data['truncated'][t])
      np.testing.assert_array_equal(normalizer.greatest, data['G'][t])
      entropy = -float(data['target_entropy']) / 2.0
      divided_by = denominators(
        normalizer.greatest, data['temperature'], entropy, 0.99, 10.0
      )
      np.testing.assert_array_equal(
        np.float32(rewards / divided_by), data['normalised'][t]
      )


if __name__ == '__main__':
  absltest.main()

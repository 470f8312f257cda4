"""Tests of experiments/doom_soak.py."""

import contextlib
import io
import os
import signal
from unittest import mock

from absl.testing import absltest, parameterized

from core.environments.doom import pictures
from experiments import doom_soak
from experiments.doom_soak import Sizes, Soak
from tests.doom import engines_of, is_engine, needs_wheels, plain_textures

GOOD = Sizes([50.0, 60.0], 40.0, 2, 20)


@needs_wheels
class SoakTest(absltest.TestCase):
  def test_players_take_turns_and_engines_stay_until_the_end(self):
    patch = mock.patch.object(pictures, 'textures', plain_textures)
    self.enter_context(patch)
    played = Soak(['language_select', 'one_room'], 1, 200)
    (worker,) = (process.pid for process in played._env.processes)
    engines = engines_of(worker)
    self.assertLen(engines, 2)
    self.assertEqual(sum(played.step() for _ in range(100)), 4)
    counts = {key: len(values) for key, values in played.returns.items()}
    self.assertEqual(set(counts.values()), {1})
    self.assertGreater(played.returns['one_room', 'scripted'][0], 0.0)
    self.assertEqual(engines_of(worker), engines)
    sizes = played.measure()
    self.assertEqual(sizes.num_engines, 2)
    self.assertBetween(sizes.engines, 10.0, 200.0)
    self.assertBetween(sizes.workers[0], 20.0, 300.0)
    os.kill(engines[0], signal.SIGKILL)
    self.assertEqual(played.step(), 1)
    self.assertEqual(played.num_died, 1)
    self.assertEqual(played.close(), (0, 0))
    self.assertFalse(any(map(is_engine, engines)))


class VerdictTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('none', {}, []),
    ('died', dict(num_died=2), ['2 engines died']),
    ('processes', dict(left=(3, 0)), ['3 processes are left']),
    ('files', dict(left=(0, 1)), ['1 files are left']),
    ('lost', dict(last=GOOD._replace(num_engines=1, engines=20.0)), ['1 en']),
    ('open_files', dict(last=GOOD._replace(num_files=23)), ['open files grow']),
    ('worker', dict(last=GOOD._replace(workers=[50, 71])), ['memory grows']),
    ('engines', dict(last=GOOD._replace(engines=61.0)), ['memory grows']),
  )
  def test_what_is_wrong(self, changes, expected):
    played = mock.create_autospec(Soak, instance=True)
    played.step.return_value = 2
    played.num_tics, played.returns = 1, {('nav_goal', 'random'): [1.0, 3.0]}
    played.num_died = changes.get('num_died', 0)
    played.close.return_value = changes.get('left', (0, 0))
    last = changes.get('last', GOOD)
    # The first counts; then one a line; then the last.
    played.measure.side_effect = [GOOD, *([last] * 10)]
    out = io.StringIO()
    with (
      mock.patch.object(doom_soak, 'Soak', return_value=played),
      contextlib.redirect_stdout(out),
    ):
      wrong = doom_soak.soak(['nav_goal', 'mazes_0'], 8, 2)
    self.assertLen(wrong, len(expected))
    for text, start in zip(wrong, expected, strict=True):
      self.assertStartsWith(text, start)
    self.assertIn('nav_goal random: 2.0 +- 1.0 (2 episodes)', out.getvalue())
    self.assertIn('8 episodes of 2 tasks', out.getvalue())


if __name__ == '__main__':
  absltest.main()

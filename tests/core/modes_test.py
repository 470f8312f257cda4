"""Tests of core/modes.py."""

import contextlib
import io
import tempfile
from unittest import mock

from absl.testing import absltest

from core import modes
from core.device import Device
from core.errors import UserError
from core.suites.catch import Catch
from core.suites.tasks import Tasks
from impala.agent import Agent
from tests import runs


class ModesTest(absltest.TestCase):
  def run_mode(self, mode, **changes):
    """Runs a mode; returns what trained, if anything did."""
    trained = []

    def make_agent(config, env_spec, device):
      self.assertEqual(env_spec, Tasks.of(config).env_spec)
      self.assertIsInstance(device, Device)
      return Agent(config, env_spec, device)

    logdir = self.enter_context(tempfile.TemporaryDirectory())
    config = runs.tiny_config(mode=mode, logdir=logdir, **changes)
    modes.run(config, make_agent, lambda *inputs: trained.append(inputs))
    return config, trained

  def test_train(self):
    config, trained = self.run_mode('train')
    ((found, agent, tasks),) = trained
    self.assertIs(found, config)
    self.assertIsInstance(agent, Agent)
    self.assertEqual(tasks.names, ('catch',))

  def test_says_what_a_suite_must_tell(self):
    for line in ('Catch as it is', ''):
      with (
        mock.patch.object(Catch, 'protocol_line', return_value=line),
        contextlib.redirect_stdout(io.StringIO()) as said,
      ):
        self.run_mode('train')
      expected = ['1 tasks: frames (20, 20, 1) and 3 actions']
      expected += [line] if line else []
      self.assertEqual(said.getvalue().splitlines(), expected)

  def test_test(self):
    with self.assertRaisesRegex(UserError, 'no checkpoint in .*: train there'):
      self.run_mode('test')

  def test_save_start_states(self):
    with self.assertRaisesRegex(UserError, 'needs --start_states=FOLDER'):
      self.run_mode('save_start_states')
    with self.assertRaisesRegex(UserError, 'catch can neither be filmed'):
      self.run_mode('save_start_states', start_states='folder')

  def test_unknown_task(self):
    with self.assertRaisesRegex(UserError, "unknown task 'ketch'"):
      self.run_mode('train', level_name='ketch')


if __name__ == '__main__':
  absltest.main()

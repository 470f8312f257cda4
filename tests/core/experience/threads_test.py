"""Threads of actors that cannot be started."""

import dataclasses
import threading
from unittest import mock

from absl.testing import absltest

from core.errors import UserError
from core.experience import sources
from core.experience.timing import Timer
from core.suites.tasks import Tasks
from tests import runs


class ThreadsTest(absltest.TestCase):
  def test_too_many_threads_are_one_line(self):
    config = dataclasses.replace(
      runs.tiny_config(),
      actor_mode='async',
      num_actors=4,
      num_environments=2,
    )
    agent = runs.make_agent(config)
    start, before = threading.Thread.start, set(threading.enumerate())

    def start_two(thread):
      if len(set(threading.enumerate()) - before) == 2:
        raise RuntimeError("can't start new thread")
      start(thread)

    with (
      mock.patch.object(threading.Thread, 'start', start_two),
      self.assertRaisesRegex(UserError, "8 threads.*can't.*lower --num_actors"),
    ):
      sources.make_source(config, agent, Tasks.of(config), Timer(), {})
    self.assertEqual(set(threading.enumerate()), before)


if __name__ == '__main__':
  absltest.main()

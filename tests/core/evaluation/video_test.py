"""Tests of core/evaluation/video.py."""

import os
import sys
import tempfile
import unittest.mock

import imageio_ffmpeg
import numpy as np
import tensorflow as tf
from absl.testing import absltest

from core.environments.ale_game import AleGame
from core.environments.atari import AtariProtocol
from core.errors import UserError
from core.evaluation import video
from core.evaluation.episodes import Policy
from core.types import AgentOutput

PROTOCOL = AtariProtocol(
  life_loss_is_done=False, noop_max=0, max_frames_per_episode=400
)


def act(last_action, env_output, core_state, seed):
  del last_action, env_output, seed
  return AgentOutput(tf.fill([1], 2), None), core_state


POLICY = Policy(act, lambda n: (), lambda n: np.zeros(n, np.int32))


class VideoTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())
    self.game = AleGame('pong', PROTOCOL)

  def record(self, path, **kwargs):
    return video.record_video(path, self.game, POLICY, seed=0, **kwargs)

  def read(self, path):
    frames = imageio_ffmpeg.read_frames(path)
    meta = next(frames)
    width, height = meta['size']
    pictures = [
      np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in frames
    ]
    return meta, pictures

  def test_a_picture_per_agent_step(self):
    path = f'{self.folder}/new/pong.mp4'
    episode_return = self.record(path, scale=2)
    meta, pictures = self.read(path)
    self.assertEqual(meta['size'], (320, 420))
    self.assertEqual(meta['fps'], 15)
    self.assertLen(pictures, 101)  # 400 frames / 4 and the first.
    self.assertEqual(os.listdir(f'{self.folder}/new'), ['pong.mp4'])
    # The encoder loses a little; the last picture is the screen at the end.
    difference = pictures[-1][::2, ::2].astype(int) - self.game.render()
    self.assertLess(np.abs(difference).mean(), 4)
    self.game.reset(seed=0)
    rewards = [self.game.step(2)[1] for _ in range(100)]
    self.assertEqual(episode_return, sum(rewards))
    self.assertLess(episode_return, 0)

  def test_length_is_limited(self):
    path = f'{self.folder}/pong.mp4'
    self.record(path, max_secs=2.0)
    _, pictures = self.read(path)
    self.assertLen(pictures, 30)

  def test_missing_encoder_says_what_to_install(self):
    with (
      unittest.mock.patch.dict(sys.modules, imageio_ffmpeg=None),
      self.assertRaisesRegex(UserError, 'pip install imageio-ffmpeg'),
    ):
      self.record(f'{self.folder}/pong.mp4')

  def test_unwritable_file_is_an_error(self):
    with open(f'{self.folder}/file', 'w') as file:
      file.write('x')
    with self.assertRaisesRegex(UserError, 'cannot write the video'):
      self.record(f'{self.folder}/file/pong.mp4')


if __name__ == '__main__':
  absltest.main()

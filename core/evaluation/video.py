"""Videos of episodes."""

import os
from typing import Any

import gymnasium

from core.errors import UserError
from core.evaluation.episodes import Policy, play_game


def record_video(
  path: str,
  environment: gymnasium.Env,
  policy: Policy,
  seed: int,
  options: dict[str, Any] | None = None,
  max_secs: float = 300.0,
  scale: int = 3,
) -> float:
  """Writes an mp4 of one episode, a picture per agent step.

  Pictures go to the encoder one by one, so that memory does not grow.

  Args:
    path: of the file; it appears only when it is whole.
    environment: whose `render()` gives uint8 [height, width, 3], and
      `metadata['render_fps']` pictures per second.
    policy: called with N = 1.
    seed: of environment and action sampling.
    options: for the environment's reset.
    max_secs: cut the video after that much time of the game.
    scale: screen pixels per pixel of the picture.

  Returns:
    The return of the episode, up to the cut.

  Raises:
    UserError: if imageio-ffmpeg is missing or the file cannot be written.
  """
  frames_per_second = environment.metadata['render_fps']
  steps = play_game(environment, policy, seed, options)
  episode_return, _ = next(steps)
  temporary = f'{path}.tmp.mp4'
  try:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    picture = environment.render()
    writer = _open_writer(temporary, picture.shape, frames_per_second, scale)
    writer.send(picture.tobytes())
    for num_pictures, (reward, _) in enumerate(steps, start=1):
      if num_pictures >= max_secs * frames_per_second:
        break
      episode_return += reward
      writer.send(environment.render().tobytes())
    writer.close()
    os.replace(temporary, path)
  except OSError as error:  # The encoder's death is a broken pipe.
    raise UserError(f'cannot write the video {path}: {error}') from error
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)
  return episode_return


def _open_writer(path, shape, frames_per_second, scale):
  """Starts the encoder; returns the generator to send pictures to."""
  try:
    import imageio_ffmpeg
  except ImportError as error:
    raise UserError(
      'videos need imageio-ffmpeg: pip install imageio-ffmpeg'
    ) from error
  height, width, _ = shape
  # Even sides, which the encoder wants.
  size = f'{width * scale // 2 * 2}:{height * scale // 2 * 2}'
  writer = imageio_ffmpeg.write_frames(
    path,
    (width, height),
    fps=frames_per_second,
    macro_block_size=1,
    output_params=['-vf', f'scale={size}:flags=neighbor'],
  )
  writer.send(None)
  return writer

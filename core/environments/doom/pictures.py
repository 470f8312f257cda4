"""What an engine of Doom shows: walls of DeepMind Lab, and drawn objects.

Walls, floors and skies are those of labmaze, DeepMind Lab's own; they are read
from the installed package and never kept. Objects are drawn here.
"""

import functools
import io
import struct
import zlib

COLOURS = {
  'red': (220, 30, 30),
  'green': (40, 170, 40),
  'blue': (40, 60, 230),
  'yellow': (250, 230, 60),
  'white': (240, 240, 240),
  'brown': (130, 85, 45),
}
SHAPES = ('ball', 'box', 'cone', 'cross')
STYLES = ('style_01', 'style_02', 'style_03', 'style_04', 'style_05')
DOOR = 'LABDOOR'
SKY = 'LABSKY'

# The engine draws a texel as a unit of the map. Lab's have 1024 pixels a side.
_TEXTURE_SIZE = 64
_SPRITE_SIZE = 48


Textures = tuple[tuple[str, bytes], ...]
"""Names of up to 8 letters, and PNG files."""


@functools.cache
def textures() -> Textures:
  """Returns walls, floors, sky and door.

  Decoding takes a second of CPU time: once in a run, for all its processes.
  """
  from labmaze import assets

  found = []
  for style in STYLES:
    for kind, paths in (
      ('W', assets.get_wall_texture_paths(style)),
      ('F', assets.get_floor_texture_paths(style)),
    ):
      for i, path in enumerate(paths.values()):
        found.append((f'{kind}{style[-1]}{i}', _shrunk(path)))
  sky = assets.get_sky_texture_paths('sky_01').front
  found.append((SKY, _shrunk(sky, (256, 128))))
  found.append((DOOR, _door()))
  return tuple(found)


def names_of(style: str, kind: str) -> list[str]:
  """Returns the names of a style's walls ('W') or floors ('F')."""
  from labmaze import assets

  tables = {'W': assets.WALL_TEXTURES, 'F': assets.FLOOR_TEXTURES}
  return [f'{kind}{style[-1]}{i}' for i in range(len(tables[kind][style]))]


@functools.cache
def sprites() -> Textures:
  """Returns all objects, their names of 4 letters followed by 'A0'."""
  found = [('APPLA0', _drawn('ball', (70, 200, 50), leaf=True))]
  found.append(('GOALA0', _drawn('star', (255, 200, 30))))
  found.append(('BCONA0', _drawn('box', (110, 110, 110), size=24)))
  for i, colour in enumerate(COLOURS.values()):
    found.append((f'CUE{i}A0', _drawn('column', colour)))
    for j, shape in enumerate(SHAPES):
      found.append((f'OB{j}{i}A0', _drawn(shape, colour)))
  return tuple(found)


def _shrunk(path, size=(_TEXTURE_SIZE, _TEXTURE_SIZE)):
  from PIL import Image

  with Image.open(path) as image:
    # By way of RGBA: some have transparent entries in their palette.
    opaque = image.convert('RGBA').convert('RGB')
    small = opaque.resize(size, Image.Resampling.LANCZOS)
  return _png(small)


def _png(image):
  file = io.BytesIO()
  image.save(file, 'PNG')
  return file.getvalue()


def _door():
  from PIL import Image, ImageDraw

  image = Image.new('RGB', (_TEXTURE_SIZE, _TEXTURE_SIZE), (70, 70, 75))
  draw = ImageDraw.Draw(image)
  for y in range(0, _TEXTURE_SIZE, 16):
    draw.rectangle((0, y, _TEXTURE_SIZE, y + 5), (230, 190, 40))
  return _png(image)


def _drawn(shape, colour, size=_SPRITE_SIZE, leaf=False):
  """Draws a shape that stands on the ground, dark at its edge."""
  from PIL import Image, ImageDraw

  image = Image.new('RGBA', (size, size), (0, 0, 0, 0))
  draw = ImageDraw.Draw(image)
  last = size - 1
  style = dict(
    fill=(*colour, 255), outline=tuple(c // 3 for c in colour), width=2
  )
  third = last // 3
  if shape == 'ball':
    draw.ellipse((2, 2, last - 2, last), **style)
  elif shape == 'box':
    draw.rectangle((4, 4, last - 4, last), **style)
  elif shape == 'cone':
    draw.polygon([(last // 2, 0), (last, last), (0, last)], **style)
  elif shape == 'cross':
    draw.rectangle((third, 0, 2 * third, last), **style)
    draw.rectangle((0, third, last, 2 * third), **style)
  elif shape == 'column':
    draw.rectangle((third, 0, 2 * third, last), **style)
  else:  # A star of four points.
    near, far, half = third, 2 * third, last // 2
    points = [(half, 0), (far, near), (last, half), (far, far)]
    points += [(half, last), (near, far), (0, half), (near, near)]
    draw.polygon(points, **style)
  if leaf:
    draw.rectangle((last // 2, 0, last // 2 + 4, 10), (90, 60, 30, 255))
  return _with_offsets(_png(image), size)


def _with_offsets(png, size):
  """Adds what lets the engine place a sprite on the ground, around its middle.

  A chunk `grAb` (x, y offset) behind the header, which ends at byte 33.
  """
  body = b'grAb' + struct.pack('>ii', size // 2, size)
  chunk = struct.pack('>I', 8) + body + struct.pack('>I', zlib.crc32(body))
  return png[:33] + chunk + png[33:]

"""Tests of core/environments/doom/scene.py and wad.py: maps, without engine."""

import collections
import re
import struct

import numpy as np
from absl.testing import absltest, parameterized

from core.environments.doom import scene, wad
from core.environments.doom.scene import CELL, Item, Maze, Scene
from tests.doom import needs_wheels, plain_textures

# A room and a corridor behind a door.
ROWS = ('******', '*  H *', '*  ***', '******')
ROOMS = ('......', '.AA...', '.AA...', '......')
MAZE = Maze(ROWS, ROOMS, 'style_01', 5)
DOOR = (1, 3)
SCENE = Scene(MAZE, frozenset([DOOR]), (1, 1), 90, (Item('Apple', (2, 2)),))


def blocks(text, kind):
  """Returns the fields of all blocks of a kind in a map."""
  found = re.findall(rf'^{kind}\{{(.*)\}}$', text.decode(), re.M)
  return [dict(re.findall(r'(\w+)=([^;]*);', block)) for block in found]


def lines_of(text):
  """Yields x and y of both ends, front sector and back sector (or None)."""
  vertices = [(int(v['x']), int(v['y'])) for v in blocks(text, 'vertex')]
  sides = [int(s['sector']) for s in blocks(text, 'sidedef')]
  for line in blocks(text, 'linedef'):
    back = sides[int(line['sideback'])] if 'sideback' in line else None
    ends = vertices[int(line['v1'])], vertices[int(line['v2'])]
    yield (*ends, sides[int(line['sidefront'])], back)


def unit_walls(text):
  """Yields the cell in front of and behind every piece of every line."""
  for (x, y), (x2, y2), front, back in lines_of(text):
    step = np.sign(x2 - x), np.sign(y2 - y)
    length = abs(x2 - x) + abs(y2 - y)
    for i in range(length // CELL):
      middle = np.array([x, y]) + (i + 0.5) * CELL * np.array(step)
      right = np.array([step[1], -step[0]]) * CELL / 2
      yield (
        scene.cell_at(MAZE, *(middle + right)),
        scene.cell_at(MAZE, *(middle - right)),
        front,
        back,
      )


@needs_wheels
class TextMapTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.text = scene.text_map(SCENE)

  def test_walls_stand_around_every_open_cell_and_face_it(self):
    found = collections.Counter()
    for front, behind, _, back in unit_walls(self.text):
      self.assertNotEqual(ROWS[front[0]][front[1]], '*')
      is_wall = ROWS[behind[0]][behind[1]] == '*'
      self.assertEqual(back is None, is_wall)
      found[frozenset([front, behind])] += 1
    expected = set()
    for r, row in enumerate(ROWS):
      for c, letter in enumerate(row):
        for other in ((r + 1, c), (r, c + 1)):
          if other[0] < len(ROWS) and other[1] < len(row):
            pair = letter + ROWS[other[0]][other[1]]
            if pair.count('*') == 1 or 'H' in pair and '*' not in pair:
              expected.add(frozenset([(r, c), other]))
    self.assertEqual(set(found), expected)
    self.assertEqual(set(found.values()), {1})

  def test_lines_that_go_on_are_one(self):
    # Around the room 4 walls, one of them cut by the door.
    walls = [line for line in lines_of(self.text) if line[3] is None]
    lengths = sorted(
      abs(x2 - x) + abs(y2 - y) for (x, y), (x2, y2), *_ in walls
    )
    self.assertEqual([n // CELL for n in lengths], [1, 1, 1, 1, 1, 1, 2, 2, 2])

  def test_closed_doors_alone_are_closed(self):
    heights = [s['heightceiling'] for s in blocks(self.text, 'sector')]
    self.assertEqual(sorted(heights), ['0', '128', '128'])
    opened = scene.text_map(SCENE._replace(closed=frozenset()))
    heights = {s['heightceiling'] for s in blocks(opened, 'sector')}
    self.assertEqual(heights, {'128'})

  def test_things(self):
    player, apple = blocks(self.text, 'thing')
    self.assertEqual(
      [player[k] for k in ('x', 'y', 'angle', 'type')],
      ['192', '320', '90', '1'],
    )
    self.assertEqual([apple[k] for k in 'xy'], ['320', '192'])
    self.assertEqual(apple['type'], str(wad.NUMBERS['Apple']))

  @parameterized.named_parameters(
    ('in_a_wall', dict(start=(0, 0)), 'no map can be made'),
    ('in_a_door', dict(items=(Item('Goal', DOOR),)), 'no map can be made'),
    ('spawn_in_a_wall', dict(spawns=((3, 3),)), 'no map can be made'),
    ('on_an_apple', dict(start=(2, 2)), 'two things stand in one cell'),
    (
      'open_to_the_outside',
      dict(maze=MAZE._replace(rows=('** ***', *ROWS[1:]))),
      'no map can be made',
    ),
  )
  def test_refuses(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      scene.text_map(SCENE._replace(**changes))

  def test_distances_stop_at_closed_doors(self):
    found = scene.distances(MAZE, (), (2, 1))
    self.assertEqual((found[DOOR], found[(1, 4)]), (3, 4))
    found = scene.distances(MAZE, [DOOR], (2, 1))
    self.assertLen(found, 4)

  def test_mazes_are_whole_repeatable_and_fit(self):
    for size, has_doors in ((11, False), (15, True), (21, True)):
      maze = scene.random_maze(size, np.random.default_rng(size), has_doors)
      again = scene.random_maze(size, np.random.default_rng(size), has_doors)
      self.assertEqual(maze, again)
      self.assertEqual({len(row) for row in maze.rows}, {size})
      cells = scene.open_cells(maze)
      reached = scene.distances(maze, (), cells[0])
      self.assertContainsSubset(cells, reached)
      self.assertEqual(bool(scene.doors(maze)), has_doors)
      full = Scene(maze, frozenset(scene.doors(maze)), cells[0], 0, ())
      self.assertLess(len(scene.text_map(full)), wad.MAX_MAP_BYTES)
      for cell in cells:
        self.assertEqual(scene.cell_at(maze, *scene.centre(maze, cell)), cell)


@needs_wheels
class WadTest(absltest.TestCase):
  def test_directory_finds_the_map(self):
    content, start = wad.build(b'a map', False, plain_textures())
    kind, count, at = struct.unpack_from('<4sii', content)
    self.assertEqual(kind, b'PWAD')
    lumps = {}
    for i in range(count):
      offset, size, name = struct.unpack_from('<ii8s', content, at + 16 * i)
      lumps[name.rstrip(b'\0').decode()] = offset, size
    self.assertEqual(lumps['TEXTMAP'], (start, wad.MAX_MAP_BYTES))
    self.assertEqual(content[start:][:8], b'a map   ')
    offset, size = lumps['APPLA0']
    sprite = content[offset : offset + size]
    self.assertEqual(sprite[37:49], b'grAb' + struct.pack('>ii', 24, 48))

  def test_a_map_that_does_not_fit(self):
    with self.assertRaisesRegex(ValueError, 'a map of 65001 bytes, 65000 fit'):
      wad.padded(b'x' * 65_001)

  def test_actors_have_numbers_of_their_own(self):
    numbers = wad.NUMBERS.values()
    self.assertLen(set(numbers), len(numbers))
    for is_tag in (False, True):
      text = wad._decorate(is_tag)
      for name, number in wad.NUMBERS.items():
        self.assertRegex(text, rf'actor {name}( : \w+)? {number}\n')


if __name__ == '__main__':
  absltest.main()

"""Mazes as text and as maps of Doom.

A maze is rows of letters: '*' a wall, 'H' and 'I' doors, all else open. A cell
is a square of 128 units; row 0 is the north.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from core.environments.doom import pictures, wad

CELL = 128
_HEIGHT = 128
_START, _DEATHMATCH_START = 1, 11
_FLAGS = ''.join(
  f'{name}=true;'
  for name in (
    *('skill1', 'skill2', 'skill3', 'skill4', 'skill5'),
    *('single', 'coop', 'dm', 'class1', 'class2', 'class3'),
  )
)
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # North, east, south, west.

Cell = tuple[int, int]


class Item(NamedTuple):
  """Something that stands in a maze.

  Attributes:
    actor: its name in `wad.NUMBERS`.
    cell: row and column.
  """

  actor: str
  cell: Cell


class Maze(NamedTuple):
  """Walls and their looks.

  Attributes:
    rows: of letters, all of one length, walls around.
    rooms: as many letters; cells of one letter look alike.
    style: of `pictures.STYLES`.
    looks: seed of which wall and floor each room gets.
  """

  rows: tuple[str, ...]
  rooms: tuple[str, ...]
  style: str
  looks: int


class Scene(NamedTuple):
  """What the engine is told before a player starts.

  Attributes:
    maze: where.
    closed: doors that are closed.
    start: cell of the player.
    angle: where it looks, degrees, 0 is east and 90 north.
    items: what stands there.
    spawns: cells where players of laser-tag come back.
    instruction: what the player is told.
  """

  maze: Maze
  closed: frozenset[Cell]
  start: Cell
  angle: int
  items: tuple[Item, ...]
  spawns: tuple[Cell, ...] = ()
  instruction: str = ''


def random_maze(
  size: int,
  rng: np.random.Generator,
  has_doors: bool = False,
  seed: int | None = None,
) -> Maze:
  """Draws a maze by labmaze, as DeepMind Lab does.

  Args:
    size: cells of a side, walls included.
    rng: draws the looks, and the seed.
    has_doors: between rooms and corridors.
    seed: of labmaze; None: drawn.
  """
  import labmaze

  maze = labmaze.RandomMaze(
    height=size,
    width=size,
    has_doors=has_doors,
    random_seed=int(rng.integers(1, 2**31)) if seed is None else seed,
  )
  style = pictures.STYLES[rng.integers(len(pictures.STYLES))]
  return Maze(
    tuple(str(maze.entity_layer).splitlines()),
    tuple(str(maze.variations_layer).splitlines()),
    style,
    int(rng.integers(2**31)),
  )


def open_cells(maze: Maze) -> list[Cell]:
  """Lists the cells that are neither walls nor doors."""
  return [
    (r, c)
    for r, row in enumerate(maze.rows)
    for c, letter in enumerate(row)
    if letter not in '*HI'
  ]


def doors(maze: Maze) -> list[Cell]:
  """Lists the cells of doors."""
  return [
    (r, c)
    for r, row in enumerate(maze.rows)
    for c, letter in enumerate(row)
    if letter in 'HI'
  ]


def distances(
  maze: Maze, closed: Iterable[Cell], start: Cell
) -> dict[Cell, int]:
  """Returns how many cells away every cell is that can be reached."""
  closed = frozenset(closed)
  found, pending = {start: 0}, [start]
  for cell in pending:
    for other in _neighbours(cell):
      is_open = maze.rows[other[0]][other[1]] != '*' and other not in closed
      if is_open and other not in found:
        found[other] = found[cell] + 1
        pending.append(other)
  return found


def centre(maze: Maze, cell: Cell) -> tuple[float, float]:
  """Returns x and y of the middle of a cell."""
  return (cell[1] + 0.5) * CELL, (len(maze.rows) - cell[0] - 0.5) * CELL


def cell_at(maze: Maze, x: float, y: float) -> Cell:
  """Returns the cell of a point."""
  return len(maze.rows) - 1 - int(y // CELL), int(x // CELL)


def check(scene: Scene) -> None:
  """Refuses what would crash the engine or hold a player prisoner.

  Raises:
    ValueError: the maze is open to the outside, or something stands in a wall
      or on something else.
  """
  rows = scene.maze.rows
  border = rows[0] + rows[-1] + ''.join(row[0] + row[-1] for row in rows)
  taken = [scene.start, *(item.cell for item in scene.items)]
  cells = [*taken, *scene.spawns]
  if set(border) != {'*'} or any(rows[r][c] in '*HI' for r, c in cells):
    raise ValueError(f'no map can be made of {scene}')
  if len(set(taken)) < len(taken):
    raise ValueError(f'two things stand in one cell of {scene}')


def text_map(scene: Scene) -> bytes:
  """Writes a scene as a map.

  Returns:
    UDMF: a sector for each room and each door, walls with their front to the
    open, merged where they go on straight.
  """
  check(scene)
  sectors, lines = _sectors(scene), {}
  for cell in sectors:
    for side in range(4):
      _add_edge(lines, scene.maze, sectors, cell, side)
  numbers = {name: i for i, name in enumerate(dict.fromkeys(sectors.values()))}
  parts = ['namespace="ZDoom";', *_things(scene)]
  vertices: dict[tuple[int, int], int] = {}
  num_sides = 0
  looks = _looks(scene, numbers)
  for (front, back), ends in _merged(lines):
    first, second = (vertices.setdefault(end, len(vertices)) for end in ends)
    line = f'v1={first};v2={second};sidefront={num_sides};'
    if back is None:
      parts.append(
        f'sidedef{{sector={numbers[front]};texturemiddle="{looks[front][0]}";}}'
      )
      parts.append(f'linedef{{{line}blocking=true;}}')
      num_sides += 1
      continue
    for name in (front, back):
      parts.append(
        f'sidedef{{sector={numbers[name]};texturetop="{pictures.DOOR}";}}'
      )
    parts.append(f'linedef{{{line}sideback={num_sides + 1};twosided=true;}}')
    num_sides += 2
  parts += [f'vertex{{x={x};y={y};}}' for x, y in vertices]
  parts += [_sector(scene, name, looks[name]) for name in numbers]
  return '\n'.join(parts).encode()


def _neighbours(cell):
  return [(cell[0] + r, cell[1] + c) for r, c in _STEPS]


def _sectors(scene):
  """Names the sector of every open cell: a letter, or the cell of a door."""
  maze = scene.maze
  return {
    (r, c): (r, c) if letter in 'HI' else maze.rooms[r][c]
    for r, row in enumerate(maze.rows)
    for c, letter in enumerate(row)
    if letter != '*'
  }


def _add_edge(lines, maze, sectors, cell, side):
  """Adds one side of a cell, if there is a wall or another sector."""
  other = _neighbours(cell)[side]
  front, back = sectors[cell], sectors.get(other)
  # Between two sectors one line is enough: of the northern or western cell.
  if front == back or (back is not None and side in (0, 3)):
    return
  x, y = cell[1] * CELL, (len(maze.rows) - cell[0]) * CELL
  corners = ((x, y), (x + CELL, y), (x + CELL, y - CELL), (x, y - CELL))
  ends = corners[side], corners[(side + 1) % 4]  # Clockwise.
  fixed = ends[0][1] if side in (0, 2) else ends[0][0]
  lines.setdefault((side, fixed, front, back), []).append(ends)


def _merged(lines):
  """Yields sectors and ends of lines, those that go on straight as one."""
  for (_, _, front, back), edges in lines.items():
    followers = dict(edges)
    firsts = followers.keys() - followers.values()
    for first in sorted(firsts):
      last = followers[first]
      while last in followers:
        last = followers[last]
      yield (front, back), (first, last)


def _looks(scene, names):
  """Returns wall and floor of every sector; corridors get the first draw."""
  rng = np.random.default_rng(scene.maze.looks)
  walls = pictures.names_of(scene.maze.style, 'W')
  floors = pictures.names_of(scene.maze.style, 'F')
  found = {}
  for name in sorted(names, key=str):
    wall, floor = rng.integers(len(walls)), rng.integers(len(floors))
    found[name] = walls[wall], floors[floor]
  return found


def _sector(scene, name, looks):
  # Without a door that is closed there is a sky above: the engine draws no
  # wall between two skies.
  is_door = isinstance(name, tuple)
  height = 0 if name in scene.closed else _HEIGHT
  ceiling = pictures.DOOR if is_door else 'F_SKY1'
  return (
    f'sector{{heightfloor=0;heightceiling={height};texturefloor="{looks[1]}";'
    f'textureceiling="{ceiling}";lightlevel=224;}}'
  )


def _things(scene):
  """Yields the player, where it comes back, and what stands there."""
  things = [(_START, scene.start, scene.angle)]
  things += [(_DEATHMATCH_START, cell, 0) for cell in scene.spawns]
  things += [(wad.NUMBERS[item.actor], item.cell, 0) for item in scene.items]
  for number, cell, angle in things:
    x, y = centre(scene.maze, cell)
    yield f'thing{{x={x:g};y={y:g};angle={angle};type={number};{_FLAGS}}}'

"""The file that an engine of Doom loads: definitions, pictures and one map.

The engine needs no compiled scripts and no nodes: two lumps of text define
players and objects, and a third is the map (UDMF).
"""

import struct
from collections.abc import Sequence

from core.environments.doom import pictures

MAP = 'MAP01'
MAX_MAP_BYTES = 65_000  # The largest maze here, 21x21, has about 30,000.

_COUNTERS = {'Apple': 3, 'Goal': 4, 'Bad': 5}
"""Slots of counters: the engine's variable AMMO3 is the number of apples that
were taken. A weapon that nobody owns connects slot and number."""

_INVISIBLE_WEAPON = """
actor NoWeapon : Weapon
{
  +WEAPON.NOALERT
  States
  {
  Ready:
    TNT1 A 1 A_WeaponReady
    Loop
  Deselect:
    TNT1 A 1 A_Lower
    Loop
  Select:
    TNT1 A 1 A_Raise
    Loop
  Fire:
    TNT1 A 4
    Goto Ready
  }
}
"""

# 20 of 100 points a hit (flag 4: never multiplied), a shot every 8 tics.
_TAG_WEAPON = """
actor TagWeapon : Weapon
{
  +WEAPON.NOALERT
  States
  {
  Ready:
    PISG A 1 A_WeaponReady
    Loop
  Deselect:
    PISG A 1 A_Lower
    Loop
  Select:
    PISG A 1 A_Raise
    Loop
  Fire:
    PISG B 4 Bright A_FireBullets(0, 0, 1, 20, "BulletPuff", 4)
    PISG C 4
    Goto Ready
  }
}
"""

# Bots have no waypoints: they walk from one such object to the next.
_BEACON = """
actor Beacon : CustomInventory %d
{
  Radius 20
  Height 24
  +INVENTORY.ALWAYSPICKUP
  +INVENTORY.ALWAYSRESPAWN
  Inventory.RespawnTics 105
  Inventory.PickupMessage ""
  States
  {
  Spawn:
    BCON A -1 Bright
    Stop
  Pickup:
    TNT1 A 0
    Stop
  }
}
"""

_MAPINFO = f"""
gameinfo
{{
  playerclasses = "LabPlayer"
}}
map {MAP} "maze"
{{
  sky1 = "{pictures.SKY}"
  nointermission
  allowrespawn
  nocrouch
  nojump
}}
"""


def object_actor(colour: str, shape: str, is_right: bool) -> str:
  """Returns the name of a coloured object; both kinds look the same."""
  return f'{"Right" if is_right else "Wrong"}_{colour}_{shape}'


def cue_actor(colour: str) -> str:
  """Returns the name of a column that cannot be taken."""
  return f'Cue_{colour}'


def _actors():
  """Lists actors: name, sprite, and what counts them ('': nothing)."""
  found = [('Apple', 'APPL', 'Apple'), ('Goal', 'GOAL', 'Goal')]
  for i, colour in enumerate(pictures.COLOURS):
    found.append((cue_actor(colour), f'CUE{i}', ''))
    for j, shape in enumerate(pictures.SHAPES):
      for is_right in (True, False):
        name = object_actor(colour, shape, is_right)
        found.append((name, f'OB{j}{i}', 'Goal' if is_right else 'Bad'))
  return found


_FIRST_NUMBER = 20001
NUMBERS = {
  name: _FIRST_NUMBER + i
  for i, name in enumerate([*(name for name, _, _ in _actors()), 'Beacon'])
}
"""The number of each actor in a map."""


def build(
  text: bytes, is_tag: bool, textures: pictures.Textures
) -> tuple[bytes, int]:
  """Returns the file and where its map begins.

  Args:
    text: the first map; it is padded, so that others can take its place.
    is_tag: whether players have a weapon.
    textures: of walls and floors.
  """
  lumps = [
    ('DECORATE', _decorate(is_tag).encode()),
    ('MAPINFO', _MAPINFO.encode()),
    ('TX_START', b''),
    *textures,
    ('TX_END', b''),
    ('S_START', b''),
    *pictures.sprites(),
    ('S_END', b''),
    (MAP, b''),
    ('TEXTMAP', padded(text)),
    ('ENDMAP', b''),
  ]
  return _join(lumps)


def padded(text: bytes) -> bytes:
  """Returns a map in as many bytes as every map takes.

  Raises:
    ValueError: it has more.
  """
  if len(text) > MAX_MAP_BYTES:
    raise ValueError(f'a map of {len(text)} bytes, {MAX_MAP_BYTES} fit')
  return text.ljust(MAX_MAP_BYTES)


def _join(lumps: Sequence[tuple[str, bytes]]):
  """Writes a PWAD: header, lumps, directory."""
  body, directory, start_of_map = bytearray(), [], 0
  for name, data in lumps:
    if name == 'TEXTMAP':
      start_of_map = 12 + len(body)
    directory.append(
      struct.pack('<ii8s', 12 + len(body), len(data), name.encode())
    )
    body += data
  header = struct.pack('<4sii', b'PWAD', len(lumps), 12 + len(body))
  return header + bytes(body) + b''.join(directory), start_of_map


def _decorate(is_tag):
  """Writes the definitions; each statement of a state on its own line."""
  weapon = 'TagWeapon' if is_tag else 'NoWeapon'
  lines = [_INVISIBLE_WEAPON, _TAG_WEAPON, _BEACON % NUMBERS['Beacon']]
  slots = [f'  Player.WeaponSlot 1, "{weapon}"']
  for name, slot in _COUNTERS.items():
    lines.append(
      f'actor {name}Counter : Ammo\n{{\n  Inventory.MaxAmount 100000\n'
      '  +INVENTORY.ALWAYSPICKUP\n  Inventory.PickupMessage ""\n}\n'
      f'actor {name}Slot : NoWeapon\n{{\n'
      f'  Weapon.AmmoType "{name}Counter"\n}}\n'
    )
    slots.append(f'  Player.WeaponSlot {slot}, "{name}Slot"')
  for name, sprite, counter in _actors():
    parent = f' : {counter}Counter' if counter else ''
    lines.append(
      f'actor {name}{parent} {NUMBERS[name]}\n{{\n  Radius 20\n  Height 40\n'
      f'  States\n  {{\n  Spawn:\n    {sprite} A -1 Bright\n    Stop\n'
      '  }\n}\n'
    )
  lines.append(
    'actor LabPlayer : DoomPlayer\n{\n  Player.ViewHeight 56\n'
    '  Player.ForwardMove 1, 1\n  Player.SideMove 1, 1\n'
    f'  Player.StartItem "{weapon}"\n' + '\n'.join(slots) + '\n}\n'
  )
  return '\n'.join(lines)

"""Fields of a config: each says all that is to be known of it.

A config is a frozen dataclass whose fields come from `field`. What a field
means to others (whether a resumed run may change it, whether a population may
explore it) stands with the field, so that nobody keeps lists of names.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any


def field(
  default: Any,
  doc: str,
  *,
  choices: Sequence[str] | None = None,
  minimum: float | None = None,
  maximum: float | None = None,
  modes: Sequence[str] | None = None,
  may_change: bool = False,
  changes_learning: bool = True,
  explored: bool = False,
  changes_play: bool = False,
) -> Any:
  """Declares one field of a config dataclass.

  Args:
    default: value where neither preset nor flag says otherwise.
    doc: meaning, unit and source; it becomes the help of the flag.
    choices: the allowed values, for strings.
    minimum: smallest allowed value.
    maximum: largest allowed value.
    modes: the values of the field `mode` in which this field has an effect;
      None: all.
    may_change: whether it may differ between a checkpoint and the run that
      resumes it.
    changes_learning: whether what is learned depends on it; if not, it may
      differ between the seeds of one row of a table.
    explored: whether a population may explore it, and so change it over a
      resume of its own.
    changes_play: whether what a trained policy plays, or how that is scored,
      depends on it: then it must be the checkpoint's in test mode, unless it
      `may_change`.

  Returns:
    A dataclasses.field.
  """
  return dataclasses.field(
    default=default,
    metadata={
      'doc': doc,
      'choices': choices,
      'minimum': minimum,
      'maximum': maximum,
      'modes': modes,
      'may_change': may_change,
      'changes_learning': changes_learning,
      'explored': explored,
      'changes_play': changes_play,
    },
  )


def names(config: Any, **metadata: Any) -> set[str]:
  """Returns the fields that were declared so.

  Args:
    config: a config or its class.
    **metadata: arguments of `field`, such as `may_change=True`.
  """
  return {
    f.name
    for f in dataclasses.fields(config)
    if all(f.metadata[key] == value for key, value in metadata.items())
  }


def describe(config: Any) -> dict[str, Any]:
  """Returns the config's fields as a dict that JSON can hold."""
  return dataclasses.asdict(config)

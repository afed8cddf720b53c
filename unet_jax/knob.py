"""One key of a config: its default, its allowed values, and its meaning."""

import sys
from typing import Any, NamedTuple

import ml_collections

# Limits: the least and the greatest value of a number, both allowed.
COUNT = (1, 2**31 - 1)
SHARE = (0.0, 1.0)
NOT_NEGATIVE = (0.0, sys.float_info.max)
POSITIVE = (sys.float_info.min, sys.float_info.max)


class Knob(NamedTuple):
  """A key of a config; `choice`, `number` and `free` make one."""

  value: Any  # The default; other values have the same type.
  meaning: str  # Markdown, for docs/config.md.
  choices: tuple[str, ...] = ()
  limits: tuple[float, ...] = ()
  entry: type | None = None  # Type of the values of a dict by class name.


def choice(choices: tuple[str, ...], meaning: str) -> Knob:
  """Makes a knob with a few possible words; the first is the default."""
  return Knob(choices[0], meaning, choices=choices)


def number(value: float, limits: tuple[float, float], meaning: str) -> Knob:
  """Makes a knob for a number within limits, whole if `value` is an int."""
  return Knob(value, meaning, limits=limits)


def free(value: Any, meaning: str, entry: type | None = None) -> Knob:
  """Makes a knob that takes any value of the type of `value`."""
  return Knob(value, meaning, entry=entry)


def allows(knob: Knob, value: Any) -> bool:
  """Returns whether a key may have a value."""
  if knob.choices:
    return value in knob.choices
  if knob.limits:
    kinds = int if isinstance(knob.value, int) else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    low, high = knob.limits
    return is_number and low <= value <= high  # False for NaN.
  if knob.entry:
    return isinstance(value, dict) and all(
      isinstance(entry, knob.entry) for entry in value.values()
    )
  return isinstance(value, type(knob.value))


def requirement(knob: Knob) -> str:
  """Returns what a value must be, such as 'a number from 0 to 1'."""
  if knob.choices:
    return f'one of {", ".join(knob.choices)}'
  if knob.limits:
    low, high = knob.limits
    if knob.limits == POSITIVE:
      return 'a number, positive and finite'
    if knob.limits == NOT_NEGATIVE:
      return 'a number, 0 or more and finite'
    kind = 'whole number' if isinstance(knob.value, int) else 'number'
    start = f'from {low:g}' if low != POSITIVE[0] else 'above 0,'
    return f'a {kind} {start} to {high:.10g}'
  if knob.entry:
    return f'a dict of class names, each with a {knob.entry.__name__}'
  return f'a {type(knob.value).__name__}'


def unflatten(flat: dict[str, Any]) -> ml_collections.ConfigDict:
  """Turns {'optim.lr': value, ...} into a config."""
  tree: dict[str, Any] = {}
  for key, value in flat.items():
    *groups, name = key.split('.')
    group = tree
    for group_name in groups:
      group = group.setdefault(group_name, {})
    group[name] = value
  return ml_collections.ConfigDict(tree)

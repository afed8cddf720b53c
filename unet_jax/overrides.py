"""Settings on the command line, as people type them.

  --config.data.classes=cat,dog
  --config.transfer.classes.red_lesions=vessels

ml_collections reads a tuple with quotes and commas, and a map as a whole.
"""

import ast
import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from unet_jax import config as config_lib
from unet_jax import defaults, errors, lookup
from unet_jax import knob as knob_lib

# Key of a map -> the type of its entries.
MAPS = {key: knob.entry for key, knob in defaults.KEYS.items() if knob.entry}
Entry = tuple[str, str]  # As ('transfer.classes', 'red_lesions').


def expand(argv: Sequence[str], name: str) -> tuple[list[str], list[Entry]]:
  """Rewrites the settings of a config so that ml_collections reads them.

  Args:
    argv: the arguments.
    name: name of the config's flag.

  Returns:
    The arguments, and each entry of a map that they set.

  Raises:
    InputError: no config has such a key; the text names the nearest ones.
  """
  setting = re.compile(rf'-{{1,2}}(?:no)?{name}\.([^=]+)(?:=(.*))?', re.DOTALL)
  words = iter(argv)
  rest: list[str] = []
  entries: list[Entry] = []
  for word in words:
    match = setting.fullmatch(word)
    if not match:
      rest.append(word)
      continue
    key, text = match.groups()
    group, entry = _split(key)
    if not group:
      raise errors.InputError(explain_unknown(key, f'--{name}'))
    kind = MAPS[group] if entry else type(defaults.KEYS[group].value)
    if entry:
      entries.append((group, entry))
      key = f'{group}[{entry!r}]'
    if entry or kind is tuple:
      text = next(words, '') if text is None else text
      text = repr(to_tuple(text)) if kind is tuple else text
      word = f'--{name}.{key}={text}'
    rest.append(word)
  return rest, entries


def add_entries(
  config: ml_collections.ConfigDict, entries: Sequence[Entry]
) -> None:
  """Adds to maps the entries that they lack, so that a flag can set them."""
  with config.unlocked():
    for key, entry in entries:
      entries_of = functools.reduce(getattr, key.split('.'), config)
      if entry not in entries_of:
        entries_of[entry] = MAPS[key]()


def apply(
  config: ml_collections.ConfigDict, settings: Mapping[str, Any]
) -> None:
  """Sets keys of a config, such as 'optim.lr', to Python values.

  Lists become tuples, and paths become text.

  Raises:
    InputError: no config has such a key, or the key takes no such value.
  """
  for key, value in settings.items():
    if key not in defaults.KEYS:
      raise errors.InputError(explain_unknown(key, 'config'))
    if isinstance(value, list):
      value = tuple(value)
    elif isinstance(value, os.PathLike):
      value = os.fspath(value)
    knob = defaults.KEYS[key]
    if not knob_lib.allows(knob, value):
      raise errors.InputError(
        f'config.{key} is {value!r}; it must be {knob_lib.requirement(knob)}'
      )
    group, _, name = key.rpartition('.')
    path = group.split('.') if group else []
    holder = functools.reduce(getattr, path, config)
    holder[name] = value


def _split(key: str) -> tuple[str, str]:
  """Returns the key of a config, and the entry of its map; '' if unknown."""
  if key in defaults.KEYS:
    return key, ''
  for group in MAPS:
    if key.startswith(f'{group}.'):
      return group, key.removeprefix(f'{group}.')
    if key.startswith(f'{group}['):  # ['cat-1'], as ml_collections writes it.
      return group, str(ast.literal_eval(key.removeprefix(group))[0])
  return '', ''


def to_tuple(text: str) -> tuple:
  """Reads a tuple: a Python literal, or words between commas.

  Words that are numbers become numbers.
  """
  try:
    value = ast.literal_eval(text)
  except (SyntaxError, ValueError):
    inner = text.strip()
    if inner[:1] + inner[-1:] in ('()', '[]'):
      inner = inner[1:-1]
    words = (word.strip() for word in inner.split(','))
    return tuple(_literal(word) for word in words if word)
  return tuple(value) if isinstance(value, tuple | list) else (value,)


def _literal(word: str) -> str | int | float:
  try:
    value = ast.literal_eval(word)
  except (SyntaxError, ValueError):
    return word
  return value if type(value) in (str, int, float) else word


def explain_unknown(key: str, config: str) -> str:
  """Returns one line about a key that no config has.

  Args:
    key: such as 'learning_rate'.
    config: what stands before the key, such as '--config'.
  """
  for old in (*config_lib.RENAMED, *config_lib.REMOVED):
    if f'{key}.'.startswith(f'{old}.'):
      return config_lib.explain_unknown(old, config)
  near = lookup.nearest(key)
  if near:
    return f'{config} has no key {key}; did you mean {" or ".join(near)}?'
  return f'{config} has no key {key}; `unet-jax keys` lists all keys'

"""Parsing, checking, saving and comparing configs."""

import json
import pathlib
import re
import sys
import traceback
from collections.abc import Callable

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

CHOICES = {
  'task': ('binary', 'multiclass', 'multilabel'),
  'precision': ('auto', 'float32', 'bfloat16'),
  'engine': ('auto', 'native', 'rewritten', 'xla'),
  'data.source': ('synthetic_fundus', 'folder', 'tfds'),
  'data.channels': ('all', 'green'),
  'data.mask': ('binary', 'index', 'folders'),
  'model.norm': ('batch', 'group', 'none'),
  'loss.name': ('dice', 'ce', 'dice_ce'),
}
# Key -> smallest and largest value; a positive float's smallest is TINY.
TINY, HUGE = sys.float_info.min, sys.float_info.max
RANGES = {
  'seed': (0, 2**31 - 1),
  'batch_size': (1, 2**20),
  'image_size': (1, 2**15),
  'total_steps': (1, 2**31 - 1),
  'eval_every': (1, 2**31 - 1),
  'save_every': (1, 2**31 - 1),
  'data.threshold': (1, 255),
  'data.resize': (0, 2**15),
  'data.val_share': (0.0, 0.9),
  'data.foreground_share': (0.0, 1.0),
  'augment.rotation_range': (0.0, 180.0),
  'augment.width_shift_range': (0.0, 1.0),
  'augment.height_shift_range': (0.0, 1.0),
  'augment.shear_range': (0.0, 60.0),
  'augment.elastic': (0.0, HUGE),
  'augment.brightness': (0.0, 1.0),
  'augment.contrast': (0.0, 1.0),
  'augment.gamma': (0.0, 9.0),
  'augment.color': (0.0, 1.0),
  'augment.blur': (0.0, 16.0),
  'augment.noise': (0.0, 1.0),
  'model.depth': (1, 10),
  'model.width': (1, 4096),
  'model.remat': (0, 11),
  'loss.smooth': (TINY, HUGE),
  'optim.lr': (TINY, HUGE),
  'optim.warmup': (0.0, 1.0),
  'optim.ema': (0.0, 1.0 - 1e-9),
}


# The keys that any value of their type suits.
TYPES = {
  'data.name': str,
  'data.root': str,
  'data.classes': tuple,
  'augment.horizontal_flip': bool,
  'augment.vertical_flip': bool,
  'augment.quarter_turns': bool,
  'augment.zoom_range': tuple,
  'loss.per_image': bool,
}
MERGE = 'data.merge'  # Its keys are class names.


class InputError(ValueError):
  """What a user can mend: its text says what, where, and the remedy."""


def define_flag() -> flags.FlagHolder:
  """Defines --config FILE[:VARIANT] and its --config.KEY=VALUE overrides."""
  return config_flags.DEFINE_config_file(
    'config', None, 'Config file[:variant].', lock_config=True
  )


def run(main: Callable[[], None]) -> None:
  """Runs a door: parses flags, calls `main`, ends on errors in one line."""
  try:
    app.run(lambda _: main(), flags_parser=_parse_flags)
  except InputError as error:
    sys.stdout.flush()
    print(f'error: {error}', file=sys.stderr)
    sys.stderr.flush()
    sys.exit(1)


def _parse_flags(argv: list[str]) -> list[str]:
  """Parses absl's flags; turns what it raises into one line."""
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS['verbosity'].using_default_value:
      # JAX, orbax and TFDS tell much that no user can act on.
      flags.FLAGS.verbosity = logging.ERROR
    if 'config' in flags.FLAGS and flags.FLAGS['config'].present:
      config = flags.FLAGS.config
      if not isinstance(config, ml_collections.ConfigDict):
        getattr(config, 'seed', None)  # Raises what loading the file did.
        raise TypeError(f'get_config gave {type(config).__name__}, no config')
  except Exception as error:  # absl's, or whatever the config file raises.
    raise InputError(_explain(error)) from None
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}; see --help')
  return rest


def _explain(error: Exception) -> str:
  """Says in a line why the flags or the config file can't be read."""
  text = str(error)
  hint = re.search('Did you mean "(.+)" instead of "(.+)"', text)
  if hint:
    return f'--config has no key {hint[2]}; did you mean {hint[1]}?'
  if error.args and isinstance(error.args[0], KeyError):
    return f'--config has no key {error.args[0].args[0]}'
  last = text.splitlines()[-1].strip() if text else type(error).__name__
  if isinstance(error, flags.Error) and 'parsing config file' not in text:
    return last
  if isinstance(error, LookupError):  # Its text is but a key.
    last = f'{type(error).__name__} {last}'
  # ml_collections puts a whole traceback into the text of some errors.
  places = re.findall(r'File "(.+)", line (\d+)', text) or [
    (frame.filename, frame.lineno)
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.name in ('get_config', '<module>')
  ]
  if places:
    last += f' ({places[-1][0]}, line {places[-1][1]})'
  return f'--config: {last}'


def flatten(config: ml_collections.ConfigDict, prefix: str = '') -> dict:
  """Returns {'data.root': value, ...}; an empty group is a value `{}`."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      # Two empty ConfigDicts are not always equal.
      flat |= flatten(value, f'{prefix}{key}.') or {prefix + key: {}}
    else:
      flat[prefix + key] = value
  return flat


def check(config: ml_collections.ConfigDict) -> None:
  """Raises InputError for the first value out of range, key and value named."""
  flat = flatten(config)
  known = {*CHOICES, *RANGES, *TYPES}
  given = {key for key in flat if not f'{key}.'.startswith(f'{MERGE}.')}
  for key in sorted(known - given):
    raise InputError(f'config.{key} is missing from the config file')
  if MERGE.split('.')[1] not in config.data:
    raise InputError(f'config.{MERGE} is missing; {{}} merges nothing')
  for key in sorted(given - known):
    raise InputError(f'config.{key} is unknown; remove it from the config file')
  for key, choices in CHOICES.items():
    if flat[key] not in choices:
      raise InputError(
        f'config.{key} is {flat[key]!r}; it must be one of {", ".join(choices)}'
      )
  for key, (low, high) in RANGES.items():
    kinds = int if isinstance(low, int) else (int, float)
    if not isinstance(flat[key], kinds) or isinstance(flat[key], bool):
      raise InputError(f'config.{key} is {flat[key]!r}; it must be a number')
    if not low <= flat[key] <= high:  # Also catches NaN.
      raise InputError(f'config.{key} is {flat[key]}; {_range(low, high)}')
  for key, kind in TYPES.items():
    if not isinstance(flat[key], kind):
      raise InputError(
        f'config.{key} is {flat[key]!r}; it must be a {kind.__name__}'
      )
  for key in flat.keys() - given - {MERGE}:
    if not isinstance(flat[key], tuple):
      raise InputError(
        f'config.{key} is {flat[key]!r}; it must be a tuple of names'
      )
  _check_geometry(config.augment, config.image_size)
  if config.task == 'binary' and len(config.data.classes) > 1:
    raise InputError(
      f'config.data.classes has {len(config.data.classes)} names; task binary '
      'takes one (or set config.task=multiclass)'
    )


def _check_geometry(augment, image_size: int) -> None:
  zooms = augment.zoom_range
  if not (
    len(zooms) == 2
    and all(type(zoom) in (int, float) for zoom in zooms)
    and 0.1 <= zooms[0] <= zooms[1] <= 10
  ):
    raise InputError(
      f'config.augment.zoom_range is {zooms}; it must be the least and most '
      'that may be looked at, from 0.1 to 10, e.g. (0.9, 1.1)'
    )
  if augment.elastic >= image_size / 16:  # A quarter of a cell of its grid.
    raise InputError(
      f'config.augment.elastic is {augment.elastic} pixels, which would fold '
      f'images; it must be below a sixteenth of config.image_size, '
      f'{image_size / 16:g}'
    )


def _range(low: float, high: float) -> str:
  if low == TINY:
    return 'it must be positive and finite'
  if high == HUGE:
    return f'it must be {low} or more and finite'
  return f'it must be from {low} to {high:.10g}'


def save(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Writes the config as JSON."""
  write_text(path, config.to_json(indent=2) + '\n')


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file in one move: killed, it leaves the old or the new."""
  aside = path.with_name(f'{path.name}.tmp')
  aside.write_text(text)
  aside.replace(path)


def load(path: pathlib.Path) -> ml_collections.ConfigDict:
  """Reads a config that `save` wrote; lists come back as tuples."""
  try:
    return from_dict(json.loads(path.read_text()))
  except (OSError, json.JSONDecodeError) as error:
    raise InputError(f'{path} can not be read ({error})') from None


def from_dict(tree: dict) -> ml_collections.ConfigDict:
  """Returns the config of a JSON object."""

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(entry) for key, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value

  return ml_collections.ConfigDict(tuples(tree))


def differences(
  old: ml_collections.ConfigDict, new: ml_collections.ConfigDict
) -> list[str]:
  """Returns a line `key: old -> new` for each key that differs.

  The engine is left out: it belongs to the machine, not to the run.
  """
  old, new = flatten(old), flatten(new)
  missing = '(absent)'
  return [
    f'config.{key}: {old.get(key, missing)!r} -> {new.get(key, missing)!r}'
    for key in sorted(old | new)
    if old.get(key, missing) != new.get(key, missing) and key != 'engine'
  ]

"""Checks, saves, loads and compares configs."""

import pathlib
import re
from typing import Any

import ml_collections

from unet_jax import defaults, errors, text_files
from unet_jax import knob as knob_lib

# Key of an earlier version -> its name today. Old runs and files have them.
RENAMED = {
  'data.mask': 'data.masks.kind',
  **{
    f'data.{name}': f'data.masks.{name}'
    for name in ('merge', 'void', 'threshold', 'soft', 'missing')
  },
  **{
    f'data.{name}': f'data.split.{name}'
    for name in ('train', 'val', 'test', 'val_share', 'group', 'folds', 'fold')
  },
  'loss.beta': 'loss.tversky_beta',
  'loss.gamma': 'loss.focal_gamma',
  'loss.radius': 'loss.cldice_radius',
}
# Removed key -> the only value whose effect this version still has.
REMOVED = {'transfer.resize': 'never'}
# Key -> its value for a run of a version before it, if not the default.
EARLIER = {'data.bits': '8'}
FILE = 'config.json'  # In the folder of a run.
MACHINE = ('engine', 'input')  # A resumed run may change them.
# Keys of config.loss that are weights of a term.
TERMS = (
  'dice',
  'negative_dice',
  'generalised_dice',
  'tversky',
  'cldice',
  'ce',
  'focal',
)
PLANES = ('folders', 'planes')  # Masks that may overlap.


def flatten(config: ml_collections.ConfigDict, prefix: str = '') -> dict:
  """Returns {'data.root': value, ...}; maps as data.masks.merge are values."""
  flat = {}
  for name, value in config.items():
    key = prefix + name
    if not isinstance(value, ml_collections.ConfigDict):
      flat[key] = value
    elif key in defaults.KEYS or key in RENAMED:
      flat[key] = value.to_dict()
    else:
      flat |= flatten(value, f'{key}.') or {key: {}}
  return flat


def check(config: ml_collections.ConfigDict) -> None:
  """Raises InputError, with a remedy, for the first wrong key or value."""
  flat = flatten(config)
  for key in sorted(flat.keys() - defaults.KEYS):
    raise errors.InputError(explain_unknown(key))
  for key in sorted(defaults.KEYS.keys() - flat):
    raise errors.InputError(f'config.{key} is missing from the config file')
  _check_values(flat)
  _check_data(config)
  _check_geometry(config.augment, config.image_size)
  _check_model(config)
  _check_optim(config)


def _check_values(flat: dict[str, Any]) -> None:
  """Refuses the first value that its key cannot have."""
  for key, knob in defaults.KEYS.items():
    if not knob_lib.allows(knob, flat[key]):
      raise errors.InputError(
        f'config.{key} is {flat[key]!r}; it must be '
        f'{knob_lib.requirement(knob)}'
      )


def explain_unknown(key: str, config: str = 'config') -> str:
  """Returns one line on what to do about a key that `config` cannot have."""
  if key in RENAMED:
    return f'{config}.{key} is now called {config}.{RENAMED[key]}; rename it'
  if key in REMOVED:
    return f'{config}.{key} no longer exists; remove it'
  return f'{config}.{key} is unknown; remove it from the config file'


def _check_data(config: ml_collections.ConfigDict) -> None:
  """Refuses settings of the data that don't go together."""
  data, masks, split = config.data, config.data.masks, config.data.split
  if config.task == 'binary' and len(data.classes) > 1:
    raise errors.InputError(
      f'config.data.classes has {len(data.classes)} names; task binary '
      'takes one: name one, or set config.task=multiclass'
    )
  if config.task == 'binary' and not data.background:
    raise errors.InputError(
      'config.data.background is empty, but task binary has a background; name '
      'it'
    )
  if masks.soft and (config.task == 'multiclass' or masks.kind not in PLANES):
    raise errors.InputError(
      f'config.data.masks.soft is {masks.soft}: probabilities need masks of '
      'kind folders or planes, and task binary or multilabel; set these, or '
      'config.data.masks.soft=0'
    )
  if masks.missing == 'absent' and masks.kind not in ('binary', 'folders'):
    raise errors.InputError(
      'config.data.masks.missing is absent; it needs '
      'config.data.masks.kind=binary or folders'
    )
  if split.folds == 1 or split.fold >= max(1, split.folds):
    raise errors.InputError(
      f'config.data.split.fold is {split.fold} of {split.folds} folds; set '
      'config.data.split.folds to 2 or more, and fold to less than that'
    )
  if -1 < split.val_share < 0:
    raise errors.InputError(
      f'config.data.split.val_share is {split.val_share}; it must be -1, or a '
      'number from 0 to 0.9'
    )
  if split.folds and split.val_share > 0:
    raise errors.InputError(
      'config.data.split.val_share and config.data.split.folds both draw val; '
      'set one to 0'
    )
  try:
    has_group = '.csv:' in split.group or re.compile(split.group).groups
  except re.error as error:
    raise errors.InputError(
      f'config.data.split.group {split.group!r} is no regular expression '
      f'({error}); correct it'
    ) from None
  if split.group and not has_group:
    raise errors.InputError(
      f'config.data.split.group {split.group!r} has no group for the '
      'patient; put parentheses around that part'
    )


def _check_model(config: ml_collections.ConfigDict) -> None:
  """Refuses settings of the model and the loss that don't go together."""
  model = config.model
  if model.name.startswith('tutorial') and (
    model.norm != 'batch' or model.remat
  ):
    raise errors.InputError(
      f'config.model.name={model.name} has batch norm and no remat; set '
      'config.model.norm=batch and config.model.remat=0, or name another model'
    )
  if (
    model.name.startswith('tutorial')
    and config.transfer.batch_stats == 'reestimate'
  ):
    raise errors.InputError(
      f'config.transfer.batch_stats is reestimate, which '
      f'config.model.name={model.name} does not support; set it to keep'
    )
  unit = 2 ** (model.depth + 1)
  if config.window % unit:
    raise errors.InputError(
      f'config.window is {config.window}; with config.model.depth='
      f'{model.depth} it must be a multiple of {unit}: set it to '
      f'{-(-config.window // unit) * unit}, or to 0'
    )
  if not any(config.loss[term] for term in TERMS):
    raise errors.InputError(
      'every term of config.loss has weight 0; give one a positive weight, '
      'such as --config.loss.dice=1.0'
    )


def _check_optim(config: ml_collections.ConfigDict) -> None:
  """Refuses settings of the optimizer that don't go together."""
  optim = config.optim
  if optim.weight_decay and optim.name != 'adamw':
    raise errors.InputError(
      f'config.optim.weight_decay is {optim.weight_decay}, but '
      f'config.optim.name={optim.name} has none; set it to adamw, or the decay '
      'to 0'
    )
  if optim.accumulate > 1 and config.model.norm == 'batch':
    raise errors.InputError(
      f'config.optim.accumulate is {optim.accumulate}, and batch norm needs '
      'the whole batch at once; set config.model.norm=group, or save memory by '
      'config.model.remat'
    )


def _check_geometry(
  augment: ml_collections.ConfigDict, image_size: int
) -> None:
  """Refuses ranges that destroy every image."""
  zooms = augment.zoom_range
  if not (
    len(zooms) == 2
    and all(type(zoom) in (int, float) for zoom in zooms)
    and 0.1 <= zooms[0] <= zooms[1] <= 10
  ):
    raise errors.InputError(
      f'config.augment.zoom_range is {zooms}; it must be the least and '
      'the greatest scale, from 0.1 to 10, e.g. (0.9, 1.1)'
    )
  # A sixteenth of the image is a quarter of a cell of the elastic grid.
  if augment.elastic >= image_size / 16:
    raise errors.InputError(
      f'config.augment.elastic is {augment.elastic} pixels, which would fold '
      f'images; it must be below a sixteenth of config.image_size, '
      f'{image_size / 16:g}'
    )


def save(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Writes the config as JSON."""
  text_files.write_text(path, config.to_json(indent=2) + '\n')


def load(path: pathlib.Path) -> ml_collections.ConfigDict:
  """Reads a config that `save` wrote; lists come back as tuples.

  Raises:
    InputError: if the file is damaged.
  """
  tree = text_files.read_json(path, 'restore it')
  try:
    return from_dict(tree)
  except (AttributeError, KeyError, TypeError) as error:
    raise errors.InputError(
      f'{path} holds no config ({error}); restore it'
    ) from None


def earlier(path: pathlib.Path) -> dict[str, Any]:
  """Returns the entries of EARLIER that hold for a config that `save` wrote."""
  load(path)  # Names a damaged file.
  tree = text_files.read_json(path, 'restore it')
  saved = flatten(ml_collections.ConfigDict(tree))
  return {key: x for key, x in EARLIER.items() if key not in saved}


def from_dict(tree: dict) -> ml_collections.ConfigDict:
  """Returns the config of a JSON object, also of one by an earlier version.

  A key that the object lacks gets its default, which changes nothing, or the
  value of EARLIER. A renamed key gets its new name.

  Raises:
    InputError: if a removed key has a value whose effect was removed, too, or
      a key has a value that it cannot have.
  """

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(entry) for key, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value

  saved = flatten(ml_collections.ConfigDict(tuples(tree)))
  is_older = 'optim.schedule_steps' not in saved
  for key, harmless in REMOVED.items():
    if saved.pop(key, harmless) != harmless:
      raise errors.InputError(
        f'config.{key} of this run is not {harmless!r}, and this version has '
        'no such key; use the version that trained the run'
      )
  saved = rename(saved)
  if is_older and saved.get('data.split.val_share') == 0:
    saved['data.split.val_share'] = -1.0  # Its meaning before that key existed.
  flat = flatten(defaults.get_config()) | EARLIER | saved
  _check_values(flat)
  return knob_lib.unflatten(flat)


def rename(settings: dict[str, Any]) -> dict[str, Any]:
  """Returns settings in which renamed keys have today's names."""
  return {RENAMED.get(key, key): value for key, value in settings.items()}


def differences(
  old: ml_collections.ConfigDict, new: ml_collections.ConfigDict
) -> list[str]:
  """Returns a line `key: old -> new` for each key that differs.

  Ignores the keys in MACHINE, which belong to the machine, not to the run, and
  a window of 0 in `new`, which leaves the window as it was chosen.
  """
  old, new = flatten(old), flatten(new)
  if new.get('window') == 0:
    old['window'] = 0
  missing = '(absent)'
  return [
    f'config.{key}: {old.get(key, missing)!r} -> {new.get(key, missing)!r}'
    for key in sorted(old | new)
    if old.get(key, missing) != new.get(key, missing) and key not in MACHINE
  ]

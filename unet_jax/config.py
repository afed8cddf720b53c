"""Checking, saving and comparing configs."""

import pathlib
import re
import sys

import ml_collections

from unet_jax import defaults, errors, text_files

CHOICES = {
  'task': ('binary', 'multiclass', 'multilabel'),
  'precision': ('auto', 'float32', 'bfloat16'),
  'engine': ('auto', 'native', 'rewritten', 'xla'),
  'data.source': ('synthetic_fundus', 'folder', 'tfds'),
  'data.channels': ('all', 'green'),
  'data.mask': ('binary', 'index', 'color', 'folders', 'planes'),
  'data.missing': ('error', 'absent'),
  'optim.name': ('adam', 'adamw', 'sgd'),
  'optim.schedule': ('cosine', 'constant', 'step'),
  'transfer.resize': ('never', 'corner'),
  'transfer.batch_stats': ('keep', 'reestimate'),
  'model.name': (
    'unet',
    'residual',
    'tutorial',
    'tutorial_vessels',
    'tutorial_lesions',
  ),
  'model.norm': ('batch', 'group', 'none'),
  'loss.class_weights': ('none', 'inverse', 'median'),
}
TERMS = (
  'dice',
  'negative_dice',
  'generalised_dice',
  'tversky',
  'cldice',
  'ce',
  'focal',
)
# Key -> smallest and largest value; a positive float's smallest is TINY.
TINY, HUGE = sys.float_info.min, sys.float_info.max
RANGES = {
  'seed': (0, 2**31 - 1),
  'batch_size': (1, 2**20),
  'image_size': (1, 2**15),
  'total_steps': (1, 2**31 - 1),
  'eval_every': (1, 2**31 - 1),
  'save_every': (1, 2**31 - 1),
  'early_stop': (0, 2**31 - 1),
  'data.threshold': (1, 255),
  'data.soft': (0, 255),
  'data.resize': (0, 2**15),
  'data.val_share': (0.0, 0.9),
  'data.folds': (0, 100),
  'data.fold': (0, 99),
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
  'model.dilated': (0, 10),
  'model.dropout': (0.0, 0.95),
  'model.remat': (0, 11),
  **{f'loss.{term}': (0.0, HUGE) for term in TERMS},
  'loss.smooth': (TINY, HUGE),
  'loss.beta': (0.0, 1.0),
  'loss.tversky_gamma': (1.0, 3.0),
  'loss.radius': (1, 100),
  'loss.gamma': (0.0, 10.0),
  'optim.lr': (TINY, HUGE),
  'optim.warmup': (0.0, 1.0),
  'optim.weight_decay': (0.0, 1.0),
  'optim.clip': (0.0, HUGE),
  'optim.accumulate': (1, 2**20),
  'optim.ema': (0.0, 1.0 - 1e-9),
  'transfer.unfreeze': (0.0, 1.0),
  'transfer.lr_decay': (TINY, 1.0),
}


# The keys that any value of their type suits.
TYPES = {
  'data.name': str,
  'data.root': str,
  'data.classes': tuple,
  'data.background': str,
  'data.void': tuple,
  'data.fov': str,
  'data.weights': str,
  'data.train': str,
  'data.val': str,
  'data.test': str,
  'data.group': str,
  'augment.horizontal_flip': bool,
  'augment.vertical_flip': bool,
  'augment.quarter_turns': bool,
  'augment.zoom_range': tuple,
  'loss.per_image': bool,
  'transfer.freeze': tuple,
  'loss.background': bool,
}
# Their keys are class names: the type of their values, and what that means.
MAPS = {
  'data.merge': (tuple, 'a tuple of names or values'),
  'transfer.classes': (str, 'the name of a class'),
}
PLANES = ('folders', 'planes')  # Masks that may overlap.


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
  given = {key for key in flat if not _map_of(key)}
  for key in sorted(known - given):
    raise errors.InputError(f'config.{key} is missing from the config file')
  for key in MAPS:
    if not any(_map_of(name) == key for name in flat):
      raise errors.InputError(f'config.{key} is missing; {{}} maps nothing')
  for key in sorted(given - known):
    raise errors.InputError(
      f'config.{key} is unknown; remove it from the config file'
    )
  for key, choices in CHOICES.items():
    if flat[key] not in choices:
      raise errors.InputError(
        f'config.{key} is {flat[key]!r}; it must be one of {", ".join(choices)}'
      )
  for key, (low, high) in RANGES.items():
    kinds = int if isinstance(low, int) else (int, float)
    if not isinstance(flat[key], kinds) or isinstance(flat[key], bool):
      raise errors.InputError(
        f'config.{key} is {flat[key]!r}; it must be a number'
      )
    if not low <= flat[key] <= high:  # Also catches NaN.
      raise errors.InputError(
        f'config.{key} is {flat[key]}; {_range(low, high)}'
      )
  for key, kind in TYPES.items():
    if not isinstance(flat[key], kind):
      raise errors.InputError(
        f'config.{key} is {flat[key]!r}; it must be a {kind.__name__}'
      )
  for key in flat.keys() - given - MAPS.keys():
    kind, meaning = MAPS[_map_of(key)]
    if not isinstance(flat[key], kind):
      raise errors.InputError(
        f'config.{key} is {flat[key]!r}; it must be {meaning}'
      )
  _check_data(config)
  _check_geometry(config.augment, config.image_size)
  _check_model(config)
  _check_optim(config)


def _map_of(key: str) -> str:
  """Returns the one of MAPS that a key is, or is in."""
  return next((name for name in MAPS if f'{key}.'.startswith(f'{name}.')), '')


def _check_data(config: ml_collections.ConfigDict) -> None:
  """Refuses settings of the data that don't go together."""
  data = config.data
  if config.task == 'binary' and len(data.classes) > 1:
    raise errors.InputError(
      f'config.data.classes has {len(data.classes)} names; task binary '
      'takes one (or set config.task=multiclass)'
    )
  if config.task == 'binary' and not data.background:
    raise errors.InputError(
      'config.data.background is empty, but task binary has a background; name '
      'it'
    )
  if data.soft and (config.task == 'multiclass' or data.mask not in PLANES):
    raise errors.InputError(
      f'config.data.soft is {data.soft}: probabilities need masks of folders '
      'or planes and task binary or multilabel; set these, or '
      'config.data.soft=0'
    )
  if data.missing == 'absent' and data.mask not in ('binary', 'folders'):
    raise errors.InputError(
      'config.data.missing is absent; it needs config.data.mask=binary or '
      'folders'
    )
  if data.folds == 1 or data.fold >= max(1, data.folds):
    raise errors.InputError(
      f'config.data.fold is {data.fold} of {data.folds} folds; set '
      'config.data.folds to 2 or more, and fold to less than that'
    )
  if data.folds and data.val_share:
    raise errors.InputError(
      'config.data.val_share and config.data.folds both draw val; set one to 0'
    )
  try:
    has_group = '.csv:' in data.group or re.compile(data.group).groups
  except re.error as error:
    raise errors.InputError(
      f'config.data.group {data.group!r}: {error}'
    ) from None
  if data.group and not has_group:
    raise errors.InputError(
      f'config.data.group {data.group!r} has no (group) that is the patient; '
      'put parentheses around it'
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
      f'config.model.name={model.name} does not know; set it to keep'
    )
  if not any(config.loss[term] for term in TERMS):
    raise errors.InputError(
      'every term of config.loss has weight 0; give one a positive weight, as '
      '--config.loss.dice=1.0'
    )


def _check_optim(config: ml_collections.ConfigDict) -> None:
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


def _check_geometry(augment, image_size: int) -> None:
  zooms = augment.zoom_range
  if not (
    len(zooms) == 2
    and all(type(zoom) in (int, float) for zoom in zooms)
    and 0.1 <= zooms[0] <= zooms[1] <= 10
  ):
    raise errors.InputError(
      f'config.augment.zoom_range is {zooms}; it must be the least and most '
      'that may be looked at, from 0.1 to 10, e.g. (0.9, 1.1)'
    )
  if augment.elastic >= image_size / 16:  # A quarter of a cell of its grid.
    raise errors.InputError(
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
  text_files.write_text(path, config.to_json(indent=2) + '\n')


def load(path: pathlib.Path) -> ml_collections.ConfigDict:
  """Reads a config that `save` wrote; lists come back as tuples."""
  return from_dict(text_files.read_json(path, 'restore it'))


def from_dict(tree: dict) -> ml_collections.ConfigDict:
  """Returns the config of a JSON object.

  A key that came later than the run has its default, which changes nothing.
  """

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(entry) for key, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value

  usual = defaults.get_config().to_dict()
  filled = {
    key: usual[key] | value if isinstance(usual.get(key), dict) else value
    for key, value in (usual | tuples(tree)).items()
  }
  return ml_collections.ConfigDict(filled)


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

"""The splits of a data set: random access to examples, checked before use.

An example is {'name': str, 'image': uint8[H, W, C], 'label': uint8[H, W], or
uint8[H, W, K] for a multilabel task}; see `labels.decode`. Where files give one
it also has 'weight_map': float32[H, W].
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from unet_jax import cache, errors
from unet_jax.data import (
  crops,
  field_of_view,
  files,
  folder,
  labels,
  layout,
  split_drawing,
  splits,
  stats,
)
from unet_jax.data.checks import classes as class_checks
from unet_jax.data.checks import quick


@dataclasses.dataclass(frozen=True)
class Source:
  """A split, which decodes what isn't kept each time it is asked for it."""

  keys: Sequence[str]
  read: Callable[[str], dict]
  kept: Mapping[str, dict] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return len(self.keys)

  def __getitem__(self, i: int) -> dict:
    key = self.keys[i]
    return self.kept[key] if key in self.kept else self.read(key)


class Stats(NamedTuple):
  """What a run must know of its training split before it can be built."""

  classes: tuple[str, ...]  # Names of the foreground classes.
  mean: tuple[float, ...]  # Per-channel mean of the images, in [0, 255].
  std: tuple[float, ...]  # Per-channel standard deviation, at least 1.
  # For each plane: its pixels, the pixels of the images in which it occurs, and
  # the pixels of all images. Only class weights need them.
  pixels: tuple[tuple[int, int, int], ...] = ()


class Dataset(NamedTuple):
  """The splits that exist, and what was found out about them."""

  splits: dict[str, Sequence[dict]]
  stats: Stats
  root: str = ''  # Absolute, so that a run's folder says where its data is.
  # SHA-256 of each split's names; detects changed splits on resume.
  digests: Mapping[str, str] = {}
  notes: tuple[str, ...] = ()  # What a person should read before training.
  folds: tuple[Sequence[str], ...] = ()  # All of them, in cross-validation.
  places: Sequence = ()  # Pixels of each class of train: crops.make_table's.

  @property
  def classes(self) -> tuple[str, ...]:
    """Returns the names of the foreground classes."""
    return self.stats.classes


def load(
  config, found: layout.Layout, saved: Mapping[str, Sequence[str]] | None = None
) -> Dataset:
  """Opens every split and decodes each of its examples once.

  Small sets stay in memory, as uint8.

  Args:
    config: the run's.
    found: from `open_layout`.
    saved: the splits of the run that goes on; see `splits.load`.

  Raises:
    InputError: at the first file, name or value that can't be used.
  """
  coding = labels.make_coding(config, found.classes)
  read = example_reader(config, found)
  everyone = [key for keys in found.keys.values() for key in keys]
  kept, seen = stats.read_all(everyone, read, coding)
  keys, folds, notes = split_keys(config, found, seen, saved or {})
  sources = {split: Source(keys[split], read, kept) for split in keys}
  train = [seen[key] for key in keys['train']]
  mean, std = stats.moments(train)
  used = [seen[key] for split in keys for key in keys[split]]
  stats.check_presence(train, coding)
  tallies = {
    split: class_checks.make_tally([seen[key] for key in keys[split]])
    for split in keys
  }
  notes += stats.notes(used, coding)
  notes += quick.notes(quick.check(config, tallies, found.classes))
  digests = {split: _digest(keys[split]) for split in keys}
  return Dataset(
    splits=sources,
    stats=Stats(found.classes, mean, std, stats.count_pixels(train)),
    root=found.root,
    digests=digests,
    notes=tuple(notes),
    folds=folds,
    places=crops.make_table([one.places for one in train], len(found.classes)),
  )


def open_split(
  config, split: str, saved: Mapping[str, Sequence[str]]
) -> Sequence[dict]:
  """Returns one split of a run, undecoded.

  Args:
    config: the run's.
    split: its name.
    saved: who is in it where the run drew it; see `splits.load`.

  Raises:
    InputError: if there is no such split, or its images are no longer there.
  """
  found = open_layout(config)
  keys = dict(found.keys)
  if split_drawing.is_needed(config, keys):
    if split in ('train', 'val'):
      split_drawing.check_saved(saved, split_drawing.pool(keys), found.root)
    keys |= {name: saved[name] for name in ('train', 'val') if name in saved}
  keys = {name: keys[name] for name in splits.SPLITS if name in keys}
  if split not in keys:
    raise errors.InputError(
      f'--split {split}: there is none; the data has {", ".join(keys)}'
    )
  return Source(keys[split], example_reader(config, found))


def open_layout(config) -> layout.Layout:
  """Finds the data set that `config.data` names."""
  if config.data.source == 'folder':
    found = folder.open_folder(config)
  else:
    from unet_jax.data import (
      prepared,  # Folders go without: slow.
      tfds_sets,
    )

    if (config.data.source, config.data.name) == ('tfds', prepared.NAME):
      found = prepared.open_prepared(config)
    else:
      found = tfds_sets.open_builder(config, cache.folder())
  _check_classes(found.classes, config)
  return found


def _check_classes(classes: Sequence[str], config) -> None:
  """Refuses classes that the task or the masks can't tell apart."""
  listed = ', '.join(classes) or 'none'
  names = labels.class_names('multiclass', classes, config.data.background)
  if not classes or len(set(names)) < len(names):
    raise errors.InputError(
      f'the foreground classes are: {listed}; set config.data.classes to one '
      f'or more names that differ, without {config.data.background}'
    )
  takes_one = 'binary' in (config.task, config.data.mask)
  if len(classes) > 1 and takes_one:
    raise errors.InputError(
      f'the foreground classes are: {listed}; config.task={config.task} with '
      f'config.data.mask={config.data.mask} takes one: name it in '
      'config.data.classes, or change these'
    )


def example_reader(config, found: layout.Layout) -> Callable[[str], dict]:
  """Builds key -> example, with `overlap` and `marked` of labels.Decoded."""
  coding = labels.make_coding(config, found.classes)

  def read(key: str) -> dict:
    raw = found.read(key)
    if not isinstance(raw.mask, labels.Decoded):
      decoded = labels.decode(raw.mask, coding, raw.where)
      raw = _shape(config, raw, decoded)
    example = dict(name=raw.name, image=raw.image, **raw.mask._asdict())
    if raw.weight_map is not None:
      example['weight_map'] = raw.weight_map
    return example

  return read


def _shape(config, raw: layout.Raw, decoded: labels.Decoded) -> layout.Raw:
  """Leaves out what the camera didn't see, and resizes."""
  image = files.keep_channels(raw.image, config.data.channels)
  label, view, weight_map = decoded.label, raw.field, raw.weight_map
  if image.dtype != np.uint8 or image.shape[:2] != label.shape[:2]:
    raise errors.InputError(
      f'{raw.where}: image {image.dtype}{list(image.shape)} and mask '
      f'{list(label.shape)} must be of 8 bits and of one size'
    )
  if config.data.fov == 'estimate':
    view = field_of_view.estimate(raw.image)
  if view is not None:
    label[~view] = labels.VOID
  if config.data.resize:
    image = files.rescale(image, config.data.resize, Image.Resampling.BOX)
    label = files.rescale(label, config.data.resize, Image.Resampling.NEAREST)
    if weight_map is not None:
      weight_map = files.rescale(
        weight_map, config.data.resize, Image.Resampling.BOX
      )
  return raw._replace(
    image=image, mask=decoded._replace(label=label), weight_map=weight_map
  )


def split_names(config, found: layout.Layout) -> list[str]:
  """Names the splits that `load` makes; at its end a run scores the last."""
  has = {'train', *found.keys}
  if split_drawing.is_needed(config, found.keys):
    has.add('val')
  return [split for split in splits.SPLITS if split in has]


def split_keys(
  config,
  found: layout.Layout,
  seen: Mapping[str, stats.Seen],
  saved: Mapping[str, Sequence[str]],
) -> tuple[dict, tuple, list[str]]:
  """Draws a val split where there is none, unless a run goes on with its own.

  Args:
    config: the run's.
    found: the data set.
    seen: of every example; see stats.read_all.
    saved: the splits of the run that goes on, or {}.

  Returns:
    {split: keys} in the order train, val, test; all folds; and notes.
  """
  keys, folds, notes = dict(found.keys), (), []
  if split_drawing.is_needed(config, keys):
    pooled = split_drawing.pool(keys)
    drawn = split_drawing.draw(
      config,
      pooled,
      names=[seen[key].name for key in pooled],
      presence=np.array([seen[key].classes > 0 for key in pooled]),
      root=pathlib.Path(found.root),
    )
    keys['train'], keys['val'], folds, note = drawn
    if saved:
      split_drawing.check_saved(saved, pooled, found.root)
      keys['train'], keys['val'] = saved['train'], saved['val']
    notes.append(note)
  elif 'val' not in keys:
    notes.append(
      'no val split: "best" is the latest averaged weights (to hold images '
      'back: --config.data.val_share=0.2)'
    )
  keys = {split: keys[split] for split in splits.SPLITS if keys.get(split)}
  if config.data.weights:
    _check_weights(config, [seen[key] for key in keys['train']])
  if 'test' not in keys:
    last = list(keys)[-1]
    note = f'no test split: the final evaluation is on {last}'
    if last == 'train':
      note += ', whose scores say nothing of new images'
    notes.append(note)
  return keys, folds, notes


def _check_weights(config, train: Sequence[stats.Seen]) -> None:
  """Refuses a training image without a map of weights."""
  for one in train:
    if not one.has_weights:
      raise errors.InputError(
        f'training image {one.name} has no map {one.name}.npy or .png in '
        f'config.data.weights={config.data.weights}; add it, or empty the key'
      )


def _digest(keys: Sequence[str]) -> str:
  return hashlib.sha256('\n'.join(keys).encode()).hexdigest()[:16]

"""The splits of a data set: random access to examples, checked before use."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from unet_jax import cache, errors
from unet_jax.data import (
  codes,
  crops,
  folder,
  image_kinds,
  labels,
  layout,
  reading,
  split_drawing,
  splits,
  stats,
)
from unet_jax.data.checks import classes as class_checks
from unet_jax.data.checks import finding
from unet_jax.data.spec import Spec


class Examples(Protocol):
  """Random access to the examples of a split; a list qualifies, too."""

  def __len__(self) -> int: ...

  def __getitem__(self, i: int, /) -> dict: ...


@dataclasses.dataclass(frozen=True)
class Source:
  """A split; an example that is not in `kept` is decoded at each access.

  It is refused if it no longer has its digest in `digests`; see stats.digest.
  """

  keys: Sequence[str]
  read: Callable[[str], dict]
  kept: Mapping[str, dict] = dataclasses.field(default_factory=dict)
  digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return len(self.keys)

  def __getitem__(self, i: int) -> dict:
    key = self.keys[i]
    if key in self.kept:
      return self.kept[key]
    example = self.read(key)
    if self.digests and stats.digest(example) != self.digests[key]:
      raise errors.InputError(
        f'image {key} or its mask has changed since the run began; restore it, '
        'and give the same command without --overwrite'
      )
    return example

  def __iter__(self) -> Iterator[dict]:
    return (self[i] for i in range(len(self)))

  def is_kept(self) -> bool:
    """Returns whether every example is in memory, decoded."""
    return all(key in self.kept for key in self.keys)


class Stats(NamedTuple):
  """Statistics of the training split, from which a run is built."""

  classes: tuple[str, ...]  # Names of the foreground classes.
  mean: tuple[float, ...]  # Per-channel mean of the images, as stored.
  std: tuple[float, ...]  # Per-channel standard deviation; not 0.
  # For each plane: its pixels, the pixels of the images in which it occurs, and
  # the pixels of all images. Only class weights need these counts.
  pixels: tuple[tuple[int, int, int], ...] = ()
  kind: image_kinds.Kind = image_kinds.RGB  # Of the files of images.
  limits: tuple[float, float] = codes.BYTES  # Black and white.


class Dataset(NamedTuple):
  """The splits of a data set, and their statistics."""

  splits: dict[str, Source]
  stats: Stats
  root: str = ''  # Absolute path, which a run saves in its config.json.
  # SHA-256 of each split's names; detects changed splits on resume.
  digests: Mapping[str, str] = {}
  # {key: stats.digest} of train and val.
  images: Mapping[str, str] = {}
  notes: tuple[str, ...] = ()  # Lines for the user to read before training.
  folds: tuple[Sequence[str], ...] = ()  # Keys of each fold, if there are any.
  places: Sequence = ()  # Pixels of each class in train; see crops.make_table.
  longest: int = 0  # Longest side of the images of train and val, in pixels.

  @property
  def classes(self) -> tuple[str, ...]:
    """Returns the names of the foreground classes."""
    return self.stats.classes


def load(
  spec: Spec,
  opened: layout.Layout,
  saved: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
  """Opens every split and decodes each of its examples once.

  The first stats.IN_MEMORY bytes of decoded examples stay in memory.

  Args:
    spec: the settings with which `opened` was opened.
    opened: from `open_layout`.
    saved: the splits of the run that is resumed; see `splits.load`.

  Raises:
    InputError: for the first file, name or value that is refused.
  """
  coding = labels.make_coding(spec, opened.classes)
  read = reading.make_reader(spec, opened)
  all_keys = [key for keys in opened.keys.values() for key in keys]
  kept, counts = stats.read_all(all_keys, read, coding)
  keys, folds, notes = split_keys(spec, opened, counts, saved or {})
  by_split = {split: [counts[key] for key in keys[split]] for split in keys}
  train = by_split['train']
  tallies = {
    split: class_checks.make_tally(images) for split, images in by_split.items()
  }
  findings = class_checks.check(tallies, opened.classes, spec.encoding)
  finding.refuse(findings)
  notes = [*opened.notes, *notes]
  notes += stats.notes(sum(by_split.values(), []), coding)
  notes += finding.notes(findings)
  limits = stats.limits(train, opened.kind.dtype)
  mean, std = stats.moments(train, limits[1] - limits[0])
  digests = {key: counts[key].digest for key in counts}
  return Dataset(
    splits={split: Source(keys[split], read, kept, digests) for split in keys},
    stats=Stats(
      opened.classes,
      mean,
      std,
      stats.count_pixels(train),
      opened.kind,
      limits,
    ),
    root=opened.root,
    digests={split: _digest(keys[split]) for split in keys},
    images={
      key: digests[key]
      for split in ('train', 'val')
      for key in keys.get(split, ())
    },
    notes=tuple(notes),
    folds=folds,
    places=crops.make_table(
      [image.places for image in train], len(opened.classes)
    ),
    longest=max(x.longest for x in (*train, *by_split.get('val', ()))),
  )


def open_split(
  spec: Spec, split: str, saved: Mapping[str, Sequence[str]]
) -> Source:
  """Returns one split of a run, undecoded.

  Args:
    spec: the settings of the run's data.
    split: name of the split.
    saved: the images of the splits that the run drew; see `splits.load`.

  Raises:
    InputError: if there is no such split, or one of its images is missing.
  """
  opened = open_layout(spec)
  keys = dict(opened.keys)
  if split_drawing.is_needed(spec.split, keys):
    if split in ('train', 'val'):
      split_drawing.check_saved(saved, split_drawing.pool(keys), opened.root)
    keys |= {name: saved[name] for name in ('train', 'val') if name in saved}
  else:
    keys = split_drawing.without_val(keys)
  keys = {name: keys[name] for name in splits.SPLITS if name in keys}
  if split not in keys:
    raise errors.InputError(
      f'--split {split}: the data has no such split, only {", ".join(keys)}'
    )
  return Source(keys[split], reading.make_reader(spec, opened))


def open_layout(spec: Spec) -> layout.Layout:
  """Opens the data set on disk; builds the embedded one if it is missing.

  Raises:
    InputError: if there is no such data set, its files don't match, or its
      classes don't fit the task.
  """
  if spec.source == 'folder':
    opened = folder.open_folder(spec)
  else:
    # Late, since importing TFDS is slow and folders do not need it.
    from unet_jax.data import prepared, tfds_sets

    if (spec.source, spec.name) == ('tfds', prepared.NAME):
      opened = prepared.open_prepared(spec)
    else:
      opened = tfds_sets.open_builder(spec, cache.folder())
  _check_classes(opened.classes, spec)
  return opened


def _check_classes(classes: Sequence[str], spec: Spec) -> None:
  """Refuses class names that repeat, and several where only one can be."""
  listed = ', '.join(classes) or 'none'
  names = labels.class_names('multiclass', classes, spec.masks.background)
  if not classes or len(set(names)) < len(names):
    raise errors.InputError(
      f'the foreground classes are: {listed}; set config.data.classes to one '
      f'or more different names, none of them {spec.masks.background}'
    )
  takes_one = 'binary' in (spec.task, spec.masks.kind)
  if len(classes) > 1 and takes_one:
    raise errors.InputError(
      f'the foreground classes are: {listed}; config.task={spec.task} with '
      f'config.data.masks.kind={spec.masks.kind} allows one: name it in '
      'config.data.classes, or change the task or the masks'
    )


def split_names(spec: Spec, opened: layout.Layout) -> list[str]:
  """Returns the splits that `load` makes; a run ends by scoring the last."""
  names = {'train', *opened.keys}
  if split_drawing.is_needed(spec.split, opened.keys):
    names.add('val')
  return [split for split in splits.SPLITS if split in names]


def split_keys(
  spec: Spec,
  opened: layout.Layout,
  counts: Mapping[str, stats.Counts],
  saved: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Sequence[str]], tuple[Sequence[str], ...], list[str]]:
  """Draws a val split if there is none, or restores that of a resumed run.

  Args:
    spec: the settings of the run's data.
    opened: the data set.
    counts: {key: counts of that example}, for all; see stats.read_all.
    saved: the splits of the run that is resumed, or {}.

  Returns:
    {split: keys} in the order train, val, test; all folds; and notes.
  """
  keys: dict[str, Sequence[str]] = dict(opened.keys)
  notes: list[str] = []
  folds: tuple[Sequence[str], ...] = ()
  if split_drawing.is_needed(spec.split, keys):
    pooled = split_drawing.pool(keys)
    drawn = split_drawing.draw(
      spec.split,
      pooled,
      names=[counts[key].name for key in pooled],
      presence=np.array([counts[key].classes > 0 for key in pooled]),
      root=pathlib.Path(opened.root),
      seed=spec.seed,
    )
    keys['train'], keys['val'], folds, note = drawn
    if saved:
      split_drawing.check_saved(saved, pooled, opened.root)
      keys['train'], keys['val'] = saved['train'], saved['val']
    notes.append(note)
  else:
    keys = split_drawing.without_val(keys)
  if 'val' not in keys:
    note = 'no val split: "best" is the latest averaged weights'
    if spec.split.val_share:  # 0 is a choice.
      note += ' (to hold images out: --config.data.split.val_share=0.2)'
    notes.append(note)
  keys = {split: keys[split] for split in splits.SPLITS if keys.get(split)}
  if spec.weights:
    _check_weights(spec.weights, [counts[key] for key in keys['train']])
  if 'test' not in keys:
    last = list(keys)[-1]
    note = f'no test split: the final evaluation is on {last}'
    if last == 'train':
      note += ', whose scores say nothing about new images'
    notes.append(note)
  return keys, folds, notes


def _check_weights(weights: str, train: Sequence[stats.Counts]) -> None:
  """Refuses a training image without a map of weights."""
  for image in train:
    if not image.has_weights:
      raise errors.InputError(
        f'training image {image.name} has no map {image.name}.npy or .png in '
        f'config.data.weights={weights}; add it, or use --config.data.weights='
      )


def _digest(keys: Sequence[str]) -> str:
  return hashlib.sha256('\n'.join(keys).encode()).hexdigest()[:16]

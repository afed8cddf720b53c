"""Reads every file of a data set once, and keeps statistics for the checks."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from unet_jax import errors
from unet_jax.data import (
  codes,
  folder,
  image_kinds,
  labels,
  layout,
  reading,
  scan,
  sources,
  spec,
  stats,
  stored,
)
from unet_jax.doctor import statistics


class Record(NamedTuple):
  """Statistics of one example."""

  key: str  # Of the layout.
  name: str
  split: str
  image: stored.File | None
  image_stats: statistics.ImageStatistics | None
  masks: Mapping[str, stored.File]  # By mask folder.
  label_stats: statistics.LabelStatistics | None = None  # None if refused.
  refusal: str = ''  # Why training would refuse the example.
  damaged: tuple[tuple[str, str], ...] = ()  # Files, and the errors.

  @property
  def path(self) -> str:
    """Returns the image's path, or its name if the image can't be read."""
    return self.image.path if self.image else self.name


class Survey(NamedTuple):
  """A data set, as far as it can be read."""

  config: ml_collections.ConfigDict
  classes: tuple[str, ...]  # Foreground.
  files: scan.Files | None  # Of a folder; None for TFDS.
  records: tuple[Record, ...]
  read: Callable[[str], dict]  # Key -> example, as for training.
  refusal: str = ''  # Why training would refuse the data set.
  limits: tuple[float, float] = codes.BYTES  # Black and white of images.

  def with_image(self) -> list[tuple[Record, statistics.ImageStatistics]]:
    """Returns the records whose image can be read, and its statistics."""
    return [(x, x.image_stats) for x in self.records if x.image_stats]

  def with_label(self) -> list[tuple[Record, statistics.LabelStatistics]]:
    """Returns the records that training accepts, and the label's statistics."""
    return [(x, x.label_stats) for x in self.records if x.label_stats]


def take(
  config: ml_collections.ConfigDict, *, with_test: bool = True
) -> Survey:
  """Reads the whole data set; records its faults instead of raising them.

  Args:
    config: config of the run.
    with_test: whether to read the images of test.

  Raises:
    InputError: if there is no such folder or data set.
  """
  data_spec = spec.read(config)
  scanned = scan.list_files(data_spec) if data_spec.source == 'folder' else None
  opened, refusal = _open(data_spec, scanned)
  if opened is None:
    return Survey(config, (), scanned, (), _read_nothing, refusal)
  coding: labels.Coding | None = None
  read: Callable[[str], dict] = _read_nothing
  try:
    coding = labels.make_coding(data_spec, opened.classes)
    read = reading.make_reader(data_spec, opened)
  except errors.InputError as error:
    refusal = str(error)
  if not with_test:
    rest = {k: keys for k, keys in opened.keys.items() if k != 'test'}
    opened = opened._replace(keys=rest)
  keys = [key for keys in opened.keys.values() for key in keys]
  examine = _make_examine(data_spec, opened, scanned, coding)
  examined = dict(zip(keys, stats.in_order(keys, examine), strict=True))
  records = {key: record for key, (record, _) in examined.items()}
  counts = {key: image for key, (_, image) in examined.items() if image}
  split_of, problem = _split(data_spec, opened, counts)
  train = [counts[key] for key in counts if split_of[key] == 'train']
  return Survey(
    config,
    opened.classes,
    scanned,
    tuple(x._replace(split=split_of[key]) for key, x in records.items()),
    read,
    refusal or problem,
    stats.limits(train, opened.kind.dtype) if train else codes.BYTES,
  )


def _read_nothing(key: str) -> dict:
  """Raises KeyError: a data set that does not open has no example."""
  raise KeyError(key)


def _open(
  data_spec: spec.Spec, scanned: scan.Files | None
) -> tuple[layout.Layout | None, str]:
  """Opens the data set, or its matching files and the refusal of the rest."""
  try:
    return sources.open_layout(data_spec), ''
  except errors.InputError as error:
    refusal = str(error)
  if not scanned:
    return None, refusal
  try:
    return folder.open_files(data_spec, _matching(data_spec, scanned)), refusal
  except errors.InputError:
    return None, refusal


def _matching(data_spec: spec.Spec, scanned: scan.Files) -> scan.Files:
  """Returns the files of the examples that are complete and listed once."""
  complete = set(scanned.images)
  if data_spec.masks.missing != 'absent':
    complete = complete.intersection(*scanned.masks.values())
  lists: dict[str, list[str]] = {}
  listed: set[str] = set()
  for split, names in scanned.lists.items():
    names = [name for name in dict.fromkeys(names) if name in complete - listed]
    listed |= set(names)
    if names:
      lists[split] = names

  def first(paths: dict) -> dict:
    return {name: paths[name][:1] for name in paths if name in complete}

  return scanned._replace(
    images=first(scanned.images),
    masks={name: first(paths) for name, paths in scanned.masks.items()},
    lists=lists,
  )


def _split(
  data_spec: spec.Spec,
  opened: layout.Layout,
  counts: Mapping[str, stats.Counts],
) -> tuple[dict[str, str], str]:
  """Returns {key: split}, drawn as training would from readable examples."""
  listed = {
    key: 'train' if split == 'all' else split
    for split, keys in opened.keys.items()
    for key in keys
  }
  readable = {
    split: [key for key in keys if key in counts]
    for split, keys in opened.keys.items()
  }
  try:
    drawn, _, _ = sources.split_keys(
      data_spec, opened._replace(keys=readable), counts, {}
    )
  except (errors.InputError, KeyError, IndexError) as error:
    return listed, str(error)
  return listed | {
    key: split for split, keys in drawn.items() for key in keys
  }, ''


def _make_examine(
  data_spec: spec.Spec,
  opened: layout.Layout,
  scanned: scan.Files | None,
  coding: labels.Coding | None,
) -> Callable[[str], tuple[Record, stats.Counts | None]]:
  """Builds key -> its record, and its counts if training accepts it."""
  full_size = data_spec._replace(resize=0)
  read_example = reading.make_reader(full_size, opened) if coding else None
  kind, folders = data_spec.masks.kind, list(scanned.masks) if scanned else []
  readers: dict[str, Callable[[pathlib.Path], np.ndarray]] = {}
  if scanned and kind != 'planes':  # Whose values are no codes of classes.
    readers = {
      name: folder.make_mask_reader(
        {k: x[0] for k, x in paths.items()}, data_spec
      )
      for name, paths in scanned.masks.items()
    }
  if kind == 'folders':
    folders = layout.mask_folders(data_spec.masks, opened.classes)

  def examine(key: str) -> tuple[Record, stats.Counts | None]:
    if scanned:
      record = _examine_files(
        *(key, scanned, folders, readers), images=opened.kind
      )
    else:
      record = _examine_arrays(key, opened)
    if not coding or not read_example or not record.image:
      return record, None
    try:
      example = read_example(key)
    except errors.InputError as error:
      return record._replace(refusal=str(error)), None
    label_stats = statistics.count(example, coding)
    record = record._replace(label_stats=label_stats)
    return record, stats.count(example, coding)

  return examine


def _examine_files(
  name: str,
  scanned: scan.Files,
  folders: Sequence[str],
  readers: Mapping[str, Callable[[pathlib.Path], np.ndarray]],
  *,
  images: image_kinds.Kind,
) -> Record:
  """Measures an example's files as they are stored.

  Args:
    name: of the example.
    scanned: all files.
    folders: the mask folders that are read.
    readers: mask folder -> folder.make_mask_reader, if values are counted.
    images: kind of the images.
  """
  image, image_stats, masks, damaged = None, None, {}, []
  paths = {'': scanned.images[name]} | {
    key: scanned.masks[key].get(name, ()) for key in folders
  }
  for key, path in ((key, path[0]) for key, path in paths.items() if path):
    try:
      if key:
        file, pixels = stored.read(path)
      else:
        file, pixels = stored.read_image(path, images)
    except errors.InputError as error:
      damaged.append((str(path), str(error).removeprefix(f'{path}: ')))
      continue
    if key:
      values = _values_of(path, pixels, readers.get(key))
      masks[key] = file._replace(values=values)
    else:
      image, image_stats = file, statistics.look_at(pixels)
  return Record(name, name, '', image, image_stats, masks, damaged=(*damaged,))


def _values_of(
  path: pathlib.Path,
  pixels: np.ndarray,
  reader: Callable[[pathlib.Path], np.ndarray] | None,
) -> dict[int | str, int]:
  """Counts the values that training would read of a mask.

  If training refuses the file, counts the values as stored.

  Args:
    path: path of the file.
    pixels: the file as stored, [H, W] or [H, W, C].
    reader: from folder.make_mask_reader; None counts nothing.
  """
  if reader is None:
    return {}
  try:
    return statistics.value_counts(reader(path))
  except errors.InputError:
    return statistics.value_counts(pixels)


def _examine_arrays(key: str, opened: layout.Layout) -> Record:
  """Measures an example that has no files of its own."""
  raw = opened.read(key)
  arrays: Mapping[str, np.ndarray] | Mapping[int, np.ndarray] = {}
  if isinstance(raw.mask, np.ndarray):
    arrays = {scan.MASKS: raw.mask}
  elif not isinstance(raw.mask, labels.Decoded):
    arrays = raw.mask
  masks = {
    str(name): stored.describe(raw.where, array)._replace(
      values=statistics.value_counts(array)
    )
    for name, array in arrays.items()
  }
  image = stored.describe(raw.name, raw.image)
  return Record(key, raw.name, '', image, statistics.look_at(raw.image), masks)

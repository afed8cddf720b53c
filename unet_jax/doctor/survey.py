"""What the doctor looks at: every file, read once and kept as statistics."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from unet_jax import errors
from unet_jax.data import (
  files,
  folder,
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
  """What is kept of an example."""

  key: str  # The layout's.
  name: str
  split: str
  image: stored.File | None
  look: statistics.ImageStatistics | None
  masks: Mapping[str, stored.File]  # By mask folder.
  counted: statistics.LabelStatistics | None = None  # None if it is refused.
  refusal: str = ''  # Why training would refuse the example.
  damaged: tuple[tuple[str, str], ...] = ()  # Files, and why they are.

  @property
  def path(self) -> str:
    """Returns the image's path, or the name where it can't be read."""
    return self.image.path if self.image else self.name


class Survey(NamedTuple):
  """A data set, as far as it can be read."""

  config: ml_collections.ConfigDict
  classes: tuple[str, ...]  # Foreground.
  files: scan.Files | None  # What a folder holds; None for TFDS.
  records: tuple[Record, ...]
  read: Callable[[str], dict]  # A record's key -> its example, as trained on.
  refusal: str = ''  # Why training would not open the set.

  def looked_at(self) -> list[tuple[Record, statistics.ImageStatistics]]:
    """Returns the records whose image can be read, and what it looks like."""
    return [(x, x.look) for x in self.records if x.look]

  def counted(self) -> list[tuple[Record, statistics.LabelStatistics]]:
    """Returns the records that training accepts, and what the label holds."""
    return [(x, x.counted) for x in self.records if x.counted]


def take(config: ml_collections.ConfigDict) -> Survey:
  """Reads the whole data set; what is wrong with it is kept, not raised.

  Raises:
    InputError: if there is no such folder or data set.
  """
  wanted = spec.read(config)
  scanned = scan.list_files(wanted) if wanted.source == 'folder' else None
  opened, refusal = _open(wanted, scanned)
  if opened is None:
    return Survey(config, (), scanned, (), _read_nothing, refusal)
  coding: labels.Coding | None = None
  read: Callable[[str], dict] = _read_nothing
  try:
    coding = labels.make_coding(wanted, opened.classes)
    read = reading.make_reader(wanted, opened)
  except errors.InputError as error:
    refusal = str(error)
  keys = [key for keys in opened.keys.values() for key in keys]
  look = _make_look(wanted, opened, scanned, coding)
  looks = dict(zip(keys, stats.in_order(keys, look), strict=True))
  records = {key: record for key, (record, _) in looks.items()}
  counts = {key: image for key, (_, image) in looks.items() if image}
  split_of, problem = _split(wanted, opened, counts)
  return Survey(
    config,
    opened.classes,
    scanned,
    tuple(x._replace(split=split_of[key]) for key, x in records.items()),
    read,
    refusal or problem,
  )


def _read_nothing(key: str) -> dict:
  """Reads a set that training would not open: there is no example."""
  raise KeyError(key)


def _open(
  wanted: spec.Spec, scanned: scan.Files | None
) -> tuple[layout.Layout | None, str]:
  """Opens the set, or else what of it fits together; and says why not all."""
  try:
    return sources.open_layout(wanted), ''
  except errors.InputError as error:
    refusal = str(error)
  if not scanned:
    return None, refusal
  try:
    return folder.open_files(wanted, _what_fits(wanted, scanned)), refusal
  except errors.InputError:
    return None, refusal


def _what_fits(wanted: spec.Spec, scanned: scan.Files) -> scan.Files:
  """Returns those of the files that are complete and listed once."""
  complete = set(scanned.images)
  if wanted.masks.missing != 'absent':
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
  wanted: spec.Spec,
  opened: layout.Layout,
  counts: Mapping[str, stats.Counts],
) -> tuple[dict[str, str], str]:
  """Returns key -> split, drawn as training would from what can be read."""
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
      wanted, opened._replace(keys=readable), counts, {}
    )
  except (errors.InputError, KeyError, IndexError) as error:
    return listed, str(error)
  return listed | {
    key: split for split, keys in drawn.items() for key in keys
  }, ''


def _make_look(
  wanted: spec.Spec,
  opened: layout.Layout,
  scanned: scan.Files | None,
  coding: labels.Coding | None,
) -> Callable[[str], tuple[Record, stats.Counts | None]]:
  """Builds key -> its record, and what `sources` counts of it."""
  full_size = wanted._replace(resize=0)
  read_example = reading.make_reader(full_size, opened) if coding else None
  kind, folders = wanted.masks.kind, list(scanned.masks) if scanned else []
  if kind == 'folders':
    folders = layout.mask_folders(wanted.masks, opened.classes)

  def look(key: str) -> tuple[Record, stats.Counts | None]:
    if scanned:
      record = _look_at_files(key, scanned, folders, kind)
    else:
      record = _look_at_arrays(key, opened)
    if not coding or not read_example or not record.image:
      return record, None
    try:
      example = read_example(key)
    except errors.InputError as error:
      return record._replace(refusal=str(error)), None
    counted = statistics.count(example, coding, with_areas=wanted.resize > 0)
    return record._replace(counted=counted), stats.count(example, coding)

  return look


def _look_at_files(
  name: str, scanned: scan.Files, folders: Sequence[str], kind: str
) -> Record:
  """Looks at an example's files as they are stored."""
  image, look, masks, damaged = None, None, {}, []
  paths = {'': scanned.images[name]} | {
    key: scanned.masks[key].get(name, ()) for key in folders
  }
  for key, path in ((key, path[0]) for key, path in paths.items() if path):
    try:
      file, pixels = stored.read(path)
    except (*files.UNREADABLE, EOFError) as error:
      damaged.append((str(path), str(error)))
      continue
    if key:
      masks[key] = file._replace(values=_values_of(path, pixels, kind))
    else:
      image, look = file, statistics.look_at(pixels)
  return Record(name, name, '', image, look, masks, damaged=(*damaged,))


def _values_of(
  path: pathlib.Path, pixels: np.ndarray, kind: str
) -> dict[int | str, int]:
  """Counts the values that training would read of a mask.

  Where training refuses the file, the values as stored are counted.

  Args:
    path: of the file.
    pixels: the file as stored, [H, W] or [H, W, C].
    kind: of the masks; see spec.Masks.
  """
  if kind == 'planes':
    return {}  # Planes are no code.
  try:
    return statistics.value_counts(folder.read_mask(path, kind))
  except errors.InputError:
    return statistics.value_counts(pixels)


def _look_at_arrays(key: str, opened: layout.Layout) -> Record:
  """Looks at an example that has no files of its own."""
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

"""What the doctor looks at: every file, read once and kept as figures."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from unet_jax import errors
from unet_jax.data import files, folder, labels, layout, sources, stats
from unet_jax.doctor import statistics


class Record(NamedTuple):
  """What is kept of an example."""

  key: str  # The layout's.
  name: str
  split: str
  image: statistics.Stored | None
  look: statistics.Look | None
  masks: Mapping[str, statistics.Stored]  # By mask folder.
  counted: statistics.Counted | None = (
    None  # None where training would refuse it.
  )
  refusal: str = ''  # Why it would.
  damaged: tuple[tuple[str, str], ...] = ()  # Files, and why they are.


class Survey(NamedTuple):
  """A data set, as far as it can be read."""

  config: ml_collections.ConfigDict
  classes: tuple[str, ...]  # Foreground.
  files: folder.Files | None  # What a folder holds; None for TFDS.
  records: tuple[Record, ...]
  read: Callable[[str], dict]  # A record's key -> its example, as trained on.
  refusal: str = ''  # Why training would not open the set.


def take(config: ml_collections.ConfigDict) -> Survey:
  """Reads the whole data set; what is wrong with it is kept, not raised.

  Raises:
    InputError: if there is no such folder or data set.
  """
  scanned = folder.scan(config) if config.data.source == 'folder' else None
  found, refusal = _open(config, scanned)
  if found is None:
    return Survey(config, (), scanned, (), {}.__getitem__, refusal)
  coding, read = None, {}.__getitem__
  try:
    coding = labels.make_coding(config, found.classes)
    read = sources.example_reader(config, found)
  except errors.InputError as error:
    refusal = str(error)
  keys = [key for keys in found.keys.values() for key in keys]
  look = _make_look(config, found, scanned, coding)
  records, seen = {}, {}
  for key, (record, one) in zip(keys, stats.in_order(keys, look), strict=True):
    records[key] = record
    if one:
      seen[key] = one
  split_of, problem = _split(config, found, seen)
  return Survey(
    config,
    found.classes,
    scanned,
    tuple(x._replace(split=split_of[key]) for key, x in records.items()),
    read,
    refusal or problem,
  )


def _open(
  config, scanned: folder.Files | None
) -> tuple[layout.Layout | None, str]:
  """Opens the set, or else what of it fits together; and says why not all."""
  try:
    return sources.open_layout(config), ''
  except errors.InputError as error:
    refusal = str(error)
  if not scanned:
    return None, refusal
  try:
    return folder.open_files(config, _what_fits(config, scanned)), refusal
  except errors.InputError:
    return None, refusal


def _what_fits(config, scanned: folder.Files) -> folder.Files:
  """Returns those of the files that are complete and listed once."""
  complete = set(scanned.images)
  if config.data.missing != 'absent':
    complete = complete.intersection(*scanned.masks.values())
  lists, listed = {}, set()
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
  config, found: layout.Layout, seen: Mapping[str, stats.Seen]
) -> tuple[dict[str, str], str]:
  """Returns key -> split, drawn as training would from what can be read."""
  listed = {
    key: 'train' if split == 'all' else split
    for split, keys in found.keys.items()
    for key in keys
  }
  readable = {
    split: [key for key in keys if key in seen]
    for split, keys in found.keys.items()
  }
  try:
    drawn, _, _ = sources.split_keys(
      config, found._replace(keys=readable), seen, {}
    )
  except (errors.InputError, KeyError, IndexError) as error:
    return listed, str(error)
  return listed | {
    key: split for split, keys in drawn.items() for key in keys
  }, ''


def _make_look(
  config, found: layout.Layout, scanned: folder.Files | None, coding
) -> Callable[[str], tuple[Record, stats.Seen | None]]:
  """Builds key -> its record, and what `sources` wants to know of it."""
  full_size = config.copy_and_resolve_references()
  full_size.data.resize = 0
  read_example = coding and sources.example_reader(full_size, found)
  folders = list(scanned.masks) if scanned else []
  if config.data.mask == 'folders':
    folders = layout.mask_folders(config, found.classes)

  def look(key: str) -> tuple[Record, stats.Seen | None]:
    if scanned:
      record = _look_at_files(key, scanned, folders, config.data.mask)
    else:
      record = _look_at_arrays(key, found)
    if coding is None or record.image is None:
      return record, None
    try:
      example = read_example(key)
    except errors.InputError as error:
      return record._replace(refusal=str(error)), None
    counted = statistics.count(
      example, coding, with_areas=config.data.resize > 0
    )
    return record._replace(counted=counted), stats.look_at(example, coding)

  return look


def _look_at_files(
  name: str, scanned: folder.Files, folders: Sequence[str], mask: str
) -> Record:
  """Looks at an example's files as they are stored."""
  image, look, masks, damaged = None, None, {}, []
  paths = {'': scanned.images[name]} | {
    key: scanned.masks[key].get(name, ()) for key in folders
  }
  for key, path in ((key, path[0]) for key, path in paths.items() if path):
    try:
      stored, pixels = statistics.read_stored(path)
    except (*files.UNREADABLE, EOFError) as error:
      damaged.append((str(path), str(error)))
      continue
    if key:
      masks[key] = stored._replace(values=_values_of(path, pixels, mask))
    else:
      image, look = stored, statistics.look_at(pixels)
  return Record(name, name, '', image, look, masks, damaged=(*damaged,))


def _values_of(
  path: pathlib.Path, pixels: np.ndarray, mask: str
) -> dict[int | str, int]:
  """Counts the values that training would read, or else those stored."""
  if mask == 'planes':
    return {}  # Planes are no code.
  try:
    return statistics.value_counts(folder.read_mask(path, mask))
  except errors.InputError:
    return statistics.value_counts(pixels)


def _look_at_arrays(key: str, found: layout.Layout) -> Record:
  """Looks at an example that has no files of its own."""
  raw, masks = found.read(key), {}
  if not isinstance(raw.mask, labels.Decoded):
    is_one = isinstance(raw.mask, np.ndarray)
    arrays = {folder.MASKS: raw.mask} if is_one else raw.mask
    masks = {
      str(name): statistics.describe(raw.where, array)._replace(
        values=statistics.value_counts(array)
      )
      for name, array in arrays.items()
    }
  image = statistics.describe(raw.name, raw.image)
  return Record(key, raw.name, '', image, statistics.look_at(raw.image), masks)

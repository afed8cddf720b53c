"""What the doctor looks at: every file, read once and kept as figures."""

import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np
from PIL import Image

from unet_jax import config as config_lib
from unet_jax.data import (
  components,
  field,
  files,
  folder,
  labels,
  layout,
  sources,
  stats,
)

ORIENTATION = 0x0112  # EXIF's tag for how an image is to be turned.
SWAPPED = (5, 6, 7, 8)  # Its values that swap width and height.
THUMB = 16  # Pixels.


class Stored(NamedTuple):
  """A file as it is stored, or an array of TFDS."""

  path: str
  size: tuple[int, int]  # Width and height.
  kind: str  # Pillow's mode, L or RGB, or the array's type.
  format: str = ''  # PNG, JPEG, ...
  orientation: int = 1  # EXIF's; 1 is upright.
  values: Mapping[int | str, int] = {}  # Of a mask: value or #rrggbb -> pixels.

  @property
  def upright(self) -> tuple[int, int]:
    """Width and height as training and viewers turn it."""
    return self.size[::-1] if self.orientation in SWAPPED else self.size


class Look(NamedTuple):
  """Figures of an image, in its own units."""

  low: float
  high: float
  full: float  # The largest value that its type can hold; 1 for floats.
  bright: float  # 99 % of the values are below.
  mean: tuple[float, ...]  # A channel, as a share of `full`.
  is_finite: bool
  digest: str  # Of the decoded pixels.
  thumb: np.ndarray  # float32[16, 16], grey.


class Counted(NamedTuple):
  """Figures of a label as training sees it, before it is resized."""

  counts: np.ndarray  # int64[K], pixels of each foreground class.
  pixels: int  # That count: not void.
  overlap: int = 0  # Pixels that several classes claim.
  frame: float = 0.0  # Share of the image in the black frame about a retina.
  outside: int = 0  # Pixels of foreground in that frame.
  areas: tuple[np.ndarray, ...] = ()  # Pixels of each class's components.
  digest: str = ''


class Record(NamedTuple):
  """What is kept of an example."""

  key: str  # The layout's.
  name: str
  split: str
  image: Stored | None
  look: Look | None
  masks: Mapping[str, Stored]  # By mask folder.
  counted: Counted | None = None  # None where training would refuse it.
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
  except config_lib.InputError as error:
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
  except config_lib.InputError as error:
    refusal = str(error)
  if not scanned:
    return None, refusal
  try:
    return folder.open_files(config, _what_fits(config, scanned)), refusal
  except config_lib.InputError:
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
  listed = {key: split for split, keys in found.keys.items() for key in keys}
  readable = {
    split: [key for key in keys if key in seen]
    for split, keys in found.keys.items()
  }
  try:
    drawn, _, _ = sources.split_keys(
      config, found._replace(keys=readable), seen, {}
    )
  except (config_lib.InputError, KeyError, IndexError) as error:
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
    except config_lib.InputError as error:
      return record._replace(refusal=str(error)), None
    counted = count(example, coding, with_areas=config.data.resize > 0)
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
      stored, pixels = read_stored(path)
    except files.UNREADABLE as error:
      damaged.append((str(path), str(error)))
      continue
    if key:
      masks[key] = stored._replace(values=_values_of(path, pixels, mask))
    else:
      image, look = stored, look_at(pixels)
  return Record(name, name, '', image, look, masks, damaged=(*damaged,))


def _values_of(
  path: pathlib.Path, pixels: np.ndarray, mask: str
) -> dict[int | str, int]:
  """Counts the values that training would read, or else those stored."""
  if mask == 'planes':
    return {}  # Planes are no code.
  try:
    return value_counts(folder.read_mask(path, mask))
  except config_lib.InputError:
    return value_counts(pixels)


def _look_at_arrays(key: str, found: layout.Layout) -> Record:
  """Looks at an example that has no files of its own."""
  raw, masks = found.read(key), {}
  if not isinstance(raw.mask, labels.Decoded):
    is_one = isinstance(raw.mask, np.ndarray)
    arrays = {folder.MASKS: raw.mask} if is_one else raw.mask
    masks = {
      str(name): _describe(raw.where, array)._replace(
        values=value_counts(array)
      )
      for name, array in arrays.items()
    }
  image = _describe(raw.name, raw.image)
  return Record(key, raw.name, '', image, look_at(raw.image), masks)


def read_stored(path: pathlib.Path) -> tuple[Stored, np.ndarray]:
  """Reads a file as it is: what is known of it, and [H, W] or [H, W, C]."""
  if path.suffix == '.npy':
    array = np.load(path, allow_pickle=False)
    return _describe(str(path), array), array
  with Image.open(path) as image:
    orientation = image.getexif().get(ORIENTATION, 1)
    array = np.asarray(image)
    stored = Stored(
      str(path), image.size, image.mode, image.format or '', orientation
    )
  return stored, array


def _describe(path: str, array: np.ndarray) -> Stored:
  return Stored(path, array.shape[1::-1], str(array.dtype))


def value_counts(mask: np.ndarray) -> dict[int | str, int]:
  """Counts the pixels of each value of [H, W], or '#rrggbb' of [H, W, C]."""
  if mask.ndim == 3:
    colour = mask[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found = zip(*np.unique(colour, return_counts=True), strict=True)
    return {f'#{value:06x}': int(count) for value, count in found}
  if mask.dtype.kind == 'f':
    return {}
  if mask.itemsize > 1:
    found = zip(*np.unique(mask, return_counts=True), strict=True)
    return {int(value): int(count) for value, count in found}
  counts = np.bincount(mask.ravel())
  return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def look_at(image: np.ndarray) -> Look:
  """Measures an image of any type, [H, W] or [H, W, C]."""
  image = image.reshape(*image.shape[:2], -1)
  is_integer = image.dtype.kind in 'iu'
  full = float(np.iinfo(image.dtype).max) if is_integer else 1.0
  is_finite = is_integer or bool(np.isfinite(image).all())
  known = image if is_finite else np.nan_to_num(image, posinf=0, neginf=0)
  small = np.stack(
    [_shrink(known[..., i]) for i in range(image.shape[2])], axis=-1
  )
  return Look(
    low=float(known.min()),
    high=float(known.max()),
    full=full,
    bright=float(np.percentile(known[::4, ::4], 99)),
    mean=tuple((small.mean(axis=(0, 1)) / full).tolist()),
    is_finite=is_finite,
    digest=_digest(image),
    thumb=small.mean(axis=-1),
  )


def _shrink(channel: np.ndarray) -> np.ndarray:
  dtype = np.uint8 if channel.dtype == np.uint8 else np.float32
  whole = Image.fromarray(channel.astype(dtype))
  small = whole.resize((THUMB, THUMB), Image.Resampling.BOX)
  return np.asarray(small, np.float32)


def count(example: dict, coding: labels.Coding, *, with_areas: bool) -> Counted:
  """Measures a label.

  Args:
    example: from a source, at its full size.
    coding: what its label means.
    with_areas: whether to measure every component.
  """
  label = example['label']
  first = 0 if coding.task == 'multiclass' and not coding.background else 1
  planes = labels.to_planes(
    label, len(coding.classes), first=first, soft=coding.soft > 0
  )
  void = (label == labels.VOID).reshape(*label.shape[:2], -1).any(axis=-1)
  overlap = example['overlap']
  if coding.task == 'multilabel':
    overlap = np.count_nonzero(np.count_nonzero(planes, axis=-1) > 1)
  view, areas = field.estimate(example['image']), ()
  if with_areas:
    areas = tuple(
      components.areas(plane) for plane in np.moveaxis(planes, -1, 0)
    )
  # Street scenes have dark parts as well, but not in all corners.
  is_framed = not view[:: view.shape[0] - 1, :: view.shape[1] - 1].any()
  return Counted(
    counts=np.count_nonzero(planes, axis=(0, 1)),
    pixels=int(np.count_nonzero(~void)),
    overlap=int(overlap),
    frame=is_framed * (1 - float(view.mean())),
    outside=int(np.count_nonzero(planes.any(axis=-1) & ~view)),
    areas=areas,
    digest=_digest(label),
  )


def _digest(array: np.ndarray) -> str:
  text = f'{array.shape}{array.dtype}'.encode()
  data = np.ascontiguousarray(array).view(np.uint8)
  return hashlib.blake2b(data, digest_size=8, key=text[:64]).hexdigest()

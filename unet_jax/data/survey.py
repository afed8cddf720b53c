"""What the doctor looks at: every file, read once and kept as figures."""

import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from PIL import Image

from unet_jax import config as config_lib
from unet_jax.data import components, files, folder, labels, layout, sources

ORIENTATION = 0x0112  # EXIF's tag for how a viewer should turn the image.
THUMB = 16  # Pixels.


class Stored(NamedTuple):
  """A file as it is stored, or an array of TFDS."""

  path: str
  size: tuple[int, int]  # Width and height.
  kind: str  # Pillow's mode, L or RGB, or the array's type.
  format: str = ''  # PNG, JPEG, ...
  orientation: int = 1  # EXIF's; 1 is upright.
  values: Mapping[
    int | str, int
  ] = {}  # Of a mask: value, or #rrggbb -> pixels.


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
  overlap: int  # Pixels that several classes claim.
  outside: int  # Pixels of foreground where the camera saw nothing.
  areas: tuple[np.ndarray, ...]  # Pixels of each class's components.
  digest: str


class Record(NamedTuple):
  """What is kept of an example."""

  key: Any  # The layout's.
  name: str
  split: str
  image: Stored | None
  look: Look | None
  masks: Mapping[str, Stored]  # By mask folder.
  counted: Counted | None  # None where training would refuse it.
  refusal: str = ''  # Why it would.
  damaged: tuple[tuple[str, str], ...] = ()  # Files, and why they are.


class Survey(NamedTuple):
  """A data set, as far as it can be read."""

  config: ml_collections.ConfigDict
  classes: tuple[str, ...]  # Foreground.
  files: folder.Files | None  # What a folder holds; None for TFDS.
  records: tuple[Record, ...]
  read: Callable[[Any], dict]  # A record's key -> its example, as trained on.
  refusal: str = ''  # Why training would not open the set.


def take(config: ml_collections.ConfigDict) -> Survey:
  """Reads the whole data set; what is wrong with it is kept, not raised.

  Raises:
    InputError: if there is no such folder or data set.
  """
  found_files, refusal = None, ''
  if config.data.source == 'folder':
    found_files = folder.scan(config)
  try:
    found = sources.open_layout(config)
  except config_lib.InputError as error:
    refusal = str(error)
    found = _open_what_fits(config, found_files) if found_files else None
  if found is None:
    return Survey(config, (), found_files, (), {}.__getitem__, refusal)
  try:
    keys, _ = sources.split_keys(config, found)
  except config_lib.InputError as error:
    refusal, keys = refusal or str(error), found.keys
  split_of = {key: split for split, names in keys.items() for key in names}
  read = _record_reader(config, found, found_files, split_of)
  records = sources.in_order(sources.Source(list(split_of), read))
  return Survey(
    config,
    found.classes,
    found_files,
    tuple(records),
    sources.example_reader(config, found),
    refusal,
  )


def _open_what_fits(config, found: folder.Files) -> layout.Layout | None:
  """Opens the examples that have all their files, or None if none has."""
  images = {name: paths for name, paths in found.images.items() if paths}
  complete = set(images).intersection(*found.masks.values())
  lists, seen = {}, set()
  for split, names in found.lists.items():
    lists[split] = [n for n in dict.fromkeys(names) if n in complete - seen]
    seen |= set(lists[split])
  fits = found._replace(
    images={name: images[name][:1] for name in sorted(complete)},
    masks={
      key: {
        name: paths[:1] for name, paths in masks.items() if name in complete
      }
      for key, masks in found.masks.items()
    },
    lists={split: names for split, names in lists.items() if names},
  )
  try:
    return folder.open_files(config, fits)
  except config_lib.InputError:
    return None


def _record_reader(
  config, found: layout.Layout, found_files, split_of: dict
) -> Callable[[Any], Record]:
  """Builds key -> Record; `read` decodes as training does, at full size."""
  folders = []
  if found_files:
    folders = list(found_files.masks)
  if config.data.mask == 'folders':
    folders = layout.mask_folders(found.classes, config.data.merge)
  full_size = config.copy_and_resolve_references()
  full_size.data.resize = 0
  read_example = sources.example_reader(full_size, found)
  first = 0 if config.task == 'multilabel' else 1
  num_classes = len(found.classes)

  def read(key) -> Record:
    counted, example, refusal = None, None, ''
    try:
      example = read_example(key)
      counted = count(
        example['label'],
        num_classes,
        first=first,
        overlap=example['overlap'],
        with_areas=config.data.resize > 0,
      )
    except config_lib.InputError as error:
      refusal = str(error)
    if found_files:
      record = _stored_record(key, found_files, folders)
    elif example:
      record = _array_record(key, example)
    else:
      record = Record(key, str(key), '', None, None, {}, None)
    return record._replace(
      split=split_of[key], counted=counted, refusal=refusal
    )

  return read


def _stored_record(
  name: str, found: folder.Files, folders: Sequence[str]
) -> Record:
  """Looks at an example's files as they are stored."""
  image, look, masks, damaged = None, None, {}, []
  path = found.images[name][0]
  try:
    image, pixels = read_stored(path)
    look = look_at(pixels)
  except files.UNREADABLE as error:
    damaged.append((str(path), str(error)))
  for key in folders:
    for path in found.masks[key].get(name, ())[:1]:
      try:
        stored, pixels = read_stored(path)
        masks[key] = stored._replace(values=value_counts(pixels))
      except files.UNREADABLE as error:
        damaged.append((str(path), str(error)))
  return Record(name, name, '', image, look, masks, None, damaged=(*damaged,))


def _array_record(key: Any, example: dict) -> Record:
  """Looks at an example that has no files of its own."""
  height, width = example['image'].shape[:2]
  name, look = example['name'], look_at(example['image'])
  image = Stored(name, (width, height), 'uint8')
  return Record(key, name, '', image, look, {}, None)


def read_stored(path: pathlib.Path) -> tuple[Stored, np.ndarray]:
  """Reads a file as it is: what is known of it, and [H, W] or [H, W, C]."""
  with Image.open(path) as image:
    orientation = image.getexif().get(ORIENTATION, 1)
    array = np.asarray(image)
    stored = Stored(
      str(path), image.size, image.mode, image.format or '', orientation
    )
  return stored, array


def value_counts(mask: np.ndarray) -> dict[int | str, int]:
  """Counts the pixels of each value of [H, W], or '#rrggbb' of [H, W, C]."""
  if mask.ndim == 3:
    colour = mask[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found = zip(*np.unique(colour, return_counts=True), strict=True)
    return {f'#{value:06x}': int(count) for value, count in found}
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


def count(
  label: np.ndarray,
  num_classes: int,
  *,
  first: int,
  overlap: int,
  with_areas: bool,
) -> Counted:
  """Measures a label.

  Args:
    label: uint8[H, W], or uint8[H, W, K] planes; 255 is void.
    num_classes: K, of the foreground.
    first: 1, the index of the first class; 0 for planes.
    overlap: pixels in which classes were found to overlap.
    with_areas: whether to measure every component.
  """
  if label.ndim == 3:
    planes = label == 1
    void = (label == labels.VOID).any(axis=-1)
    overlap = np.count_nonzero(planes.sum(axis=-1) > 1)
  else:
    planes = label[..., None] == np.arange(first, first + num_classes)
    void = label == labels.VOID
  areas = ()
  if with_areas:
    areas = tuple(components.areas(planes[..., k]) for k in range(num_classes))
  return Counted(
    counts=np.count_nonzero(planes, axis=(0, 1)),
    pixels=int(np.count_nonzero(~void)),
    overlap=int(overlap),
    outside=0,
    areas=areas,
    digest=_digest(label),
  )


def _digest(array: np.ndarray) -> str:
  text = f'{array.shape}{array.dtype}'.encode()
  data = np.ascontiguousarray(array).view(np.uint8)
  return hashlib.blake2b(data, digest_size=8, key=text[:64]).hexdigest()

"""What the images of a data set have in common, by the headers of their files.

Pillow reads what it reads whole, tifffile the other TIFFs, and NumPy arrays.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax import errors
from unet_jax.data import opening, tiff_files

DTYPES = ('uint8', 'uint16', 'int16', 'float32')  # Of images.
MOST = 16  # Channels of an image.


class Kind(NamedTuple):
  """What the images of a data set have in common.

  Attributes:
    dtype: one of DTYPES.
    parts: the files of a sample, the ending of each name and its number of
      channels: (('', 3),), or (('_0000', 1), ('_0001', 1)).
    pages: `channels` if pages that no metadata explains are channels; `refuse`.
  """

  dtype: str = 'uint8'
  parts: tuple[tuple[str, int], ...] = (('', 3),)
  pages: str = 'refuse'

  @property
  def channels(self) -> int:
    """Returns the number of channels of all files of a sample."""
    return sum(count for _, count in self.parts)


RGB = Kind()


def to_json(kind: Kind) -> dict:
  """Returns a kind as JSON types."""
  parts = [list(part) for part in kind.parts]
  return dict(dtype=kind.dtype, parts=parts, pages=kind.pages)


def from_json(tree: dict) -> Kind:
  """Returns the kind that `to_json` wrote."""
  parts = tuple((ending, count) for ending, count in tree['parts'])
  return Kind(tree['dtype'], parts, tree['pages'])


def of_array(image: np.ndarray, channels: str) -> Kind:
  """Returns the kind of files that give an image [H, W, C].

  Args:
    image: after `keep_channels`.
    channels: `all`, or `green` where the image is of a colour file.
  """
  count = 3 if channels == 'green' else image.shape[-1]
  return Kind(image.dtype.name, (('', count),))


class Header(NamedTuple):
  """What a file holds, without decoding it."""

  dtype: str  # One of DTYPES.
  channels: int  # Without an alpha channel.
  size: tuple[int, int]  # Width and height as stored.


def read_header(path: pathlib.Path, pages: str = 'refuse') -> Header:
  """Reads what a file holds.

  Args:
    path: of the file.
    pages: see Kind.

  Raises:
    InputError: if an image of that kind cannot be read.
  """
  if path.suffix.lower() == '.npy':
    array = opening.load_array(path, in_memory=False)
    height, width, channels = shape_of(path, array)
    header = Header(name_dtype(path, array.dtype), channels, (width, height))
  elif is_whole(path):
    with opening.open_image(path) as image:
      opening.refuse_wide(image, path)
      is_deep = image.mode == 'I' or opening.is_deep_grey(image)
      is_grey = is_deep or image.mode in ('1', 'L', 'LA')
      dtype = 'uint16' if is_deep else 'uint8'
      header = Header(dtype, 1 if is_grey else 3, image.size)
  else:
    tiff = tiff_files.describe(path, pages)
    header = Header(name_dtype(path, tiff.dtype), tiff.channels, tiff.size)
  if header.channels > MOST:
    raise errors.InputError(
      f'{path}: it has {header.channels} channels; save at most {MOST}'
    )
  return header


def find_kind(
  paths: Sequence[pathlib.Path],
  endings: Sequence[str] = ('',),
  *,
  bits: str = 'stored',
  pages: str = 'refuse',
) -> Kind:
  """Returns the kind of the images of a data set, by their headers.

  Grey images are read as RGB beside colour ones, and 8 bits as 16 beside 16.

  Args:
    paths: the first file of each sample.
    endings: endings of the names of a sample's files.
    bits: `stored`, or `8` to keep the upper 8 bits of 16.
    pages: see Kind.

  Raises:
    InputError: if the images have no common type or number of channels.
  """
  parts: list[tuple[str, int]] = []
  dtypes: dict[str, pathlib.Path] = {}  # Each with a file of that type.
  for ending in endings:
    counts: dict[int, pathlib.Path] = {}  # Likewise of channels.
    for path in paths:
      file = _part_of(path, endings[0], ending)
      header = read_header(file, pages)
      counts.setdefault(header.channels, file)
      dtypes.setdefault(header.dtype, file)
    if len(counts) > 1 and counts.keys() != {1, 3}:
      shown = [f'{n} in {file}' for n, file in counts.items()]
      raise errors.InputError(
        f'images differ in their channels: {" and ".join(shown[:2])}; save '
        'all with the same channels'
      )
    parts.append((ending, max(counts)))
  if len(dtypes) > 1 and dtypes.keys() != {'uint8', 'uint16'}:
    shown = [f'{dtype} in {file}' for dtype, file in dtypes.items()]
    raise errors.InputError(
      f'images differ in their type: {" and ".join(shown[:2])}; save all alike'
    )
  dtype = max(dtypes, key=lambda x: DTYPES.index(x))
  if bits == '8' and dtype != 'uint8':
    if dtype != 'uint16':
      raise errors.InputError(
        f'{dtypes[dtype]}: its values are {dtype}, and config.data.bits=8 '
        'keeps the upper 8 bits of 16; use --config.data.bits=stored'
      )
    dtype = 'uint8'
  return Kind(dtype, tuple(parts), pages)


def size(path: pathlib.Path) -> tuple[int, int]:
  """Returns width and height by a file's header; (0, 0) if it has none."""
  try:
    with opening.of_any_size():
      return read_header(path, 'channels').size
  except errors.InputError:
    return 0, 0


def files_of(path: pathlib.Path, kind: Kind) -> list[pathlib.Path]:
  """Returns the files of a sample, of its first file."""
  first = kind.parts[0][0]
  return [_part_of(path, first, ending) for ending, _ in kind.parts]


def _part_of(path: pathlib.Path, first: str, ending: str) -> pathlib.Path:
  """Returns the file of a sample with an ending, of its `first` file."""
  if ending == first:
    return path
  return path.with_name(path.stem.removesuffix(first) + ending + path.suffix)


def is_whole(path: pathlib.Path, *, narrow: bool = False) -> bool:
  """Returns whether Pillow reads all of a file; True if it is no TIFF.

  Args:
    path: of the file.
    narrow: whether the upper 8 bits are enough.
  """
  if not opening.is_tiff(path):
    return True
  try:
    image = opening.open_file(path)
  except errors.InputError:
    return False
  with image:
    return not (
      image.mode in ('F', 'I')
      or (opening.is_cut(image) and not narrow)
      or opening.is_turned(image)
      or opening.num_samples(image) > len(image.getbands())
      or opening.num_pages(image, path) > 1
    )


def shape_of(path: pathlib.Path, array: np.ndarray) -> tuple[int, int, int]:
  """Returns H, W and C of an array [H, W] or [H, W, C]."""
  shape = array.shape
  if len(shape) == 2 and array.size:
    return (*shape, 1)
  if len(shape) == 3 and array.size and shape[2] <= MOST:
    return shape
  remedy = 'save an array [height, width] or [height, width, channels]'
  if len(shape) == 3 and shape[0] <= MOST < shape[2]:
    remedy = 'its channels come first: save np.moveaxis(image, 0, -1)'
  raise errors.InputError(
    f'{path} holds {array.dtype}{list(shape)}, which is no image of at most '
    f'{MOST} channels; {remedy}'
  )


def name_dtype(path: pathlib.Path | str, dtype: np.dtype) -> str:
  """Returns the name of the type in memory; floats have 32 bits."""
  name = 'float32' if dtype.name in ('float16', 'float64') else dtype.name
  if name not in DTYPES:
    raise errors.InputError(
      f'{path}: its values are {dtype.name}; save it as one of '
      f'{", ".join(DTYPES)}'
    )
  return name

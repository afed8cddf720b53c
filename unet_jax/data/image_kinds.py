"""What the images of a data set have in common, by the headers of their files.

Pillow reads what it reads whole, tifffile the other TIFFs, and NumPy arrays.
"""

import collections
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

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
) -> tuple[Kind, list[str]]:
  """Finds the kind of the images of a data set, by their headers.

  Grey images are read as RGB beside colour ones, and 8 bits as 16 beside 16.
  Otherwise the commonest kind is taken. Files that cannot be read, or are of
  another kind, are left to `image_files.read_image`, which names them.

  Args:
    paths: the first file of each sample.
    endings: endings of the names of a sample's files.
    bits: `stored`, or `8` to keep the upper 8 bits of 16.
    pages: see Kind.

  Returns:
    The kind, and a line for the user if images of 8 and 16 bits are mixed.

  Raises:
    InputError: if no file can be read, or `bits` cannot be kept.
  """
  parts: list[tuple[str, int]] = []
  dtypes: collections.Counter[str] = collections.Counter()
  for ending in endings:
    files = [_part_of(path, endings[0], ending) for path in paths]
    headers = _read_headers(files, pages)
    channels = collections.Counter(header.channels for header in headers)
    dtypes.update(header.dtype for header in headers)
    is_mixed = channels.keys() <= {1, 3}
    parts.append((ending, max(channels) if is_mixed else _commonest(channels)))
  is_mixed = dtypes.keys() <= {'uint8', 'uint16'}
  dtype = max(dtypes, key=DTYPES.index) if is_mixed else _commonest(dtypes)
  if bits == '8' and dtype not in ('uint8', 'uint16'):
    raise errors.InputError(
      f'{paths[0].parent}: the values of images are {dtype}, and '
      'config.data.bits=8 keeps the upper 8 bits of 16; use '
      '--config.data.bits=stored'
    )
  kind = Kind('uint8' if bits == '8' else dtype, tuple(parts), pages)
  if len(dtypes) == 1 or kind.dtype != 'uint16':
    return kind, []
  return kind, [
    f'{dtypes["uint8"]} files of 8 bits are read beside {dtypes["uint16"]} of '
    '16: their values times 257, so that white is white'
  ]


def _read_headers(paths: Sequence[pathlib.Path], pages: str) -> list[Header]:
  """Reads the headers that can be read; raises InputError if none can."""
  headers, fault = [], None
  for path in paths:
    try:
      headers.append(read_header(path, pages))
    except errors.InputError as error:
      fault = fault or error
  if fault and not headers:
    raise fault
  return headers


def _commonest(counts: collections.Counter) -> Any:
  ((value, _),) = counts.most_common(1)
  return value


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


def name_of(path: pathlib.Path, kind: Kind) -> str:
  """Returns the name of a sample, of its first file."""
  return path.stem.removesuffix(kind.parts[0][0])


def first_files(
  paths: Sequence[pathlib.Path], kind: Kind
) -> list[pathlib.Path]:
  """Returns the first file of each sample among all files.

  Raises:
    InputError: if a file has none of the kind's endings.
  """
  endings = [ending for ending, _ in kind.parts]
  for path in paths:
    if not path.stem.endswith(tuple(endings)):
      raise errors.InputError(
        f'{path}: an image of this run is the files NAME'
        f'{", NAME".join(endings)}; rename it'
      )
  return [path for path in paths if path.stem.endswith(endings[0])]


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

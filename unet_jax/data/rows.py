"""Images read by rows; a TIFF too large for memory is decoded in parts."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from unet_jax import errors
from unet_jax.data import files, opening

SUFFIXES = ('.tif', '.tiff')
# Rows of tiles, or strips, of a file that stay decoded. Rows are read twice,
# for the network and for the overlay, which lags a little.
KEPT = 4


class Rows(NamedTuple):
  """An image that is read by rows."""

  shape: tuple[int, int]  # H and W.
  read: Callable[[slice], np.ndarray]  # Rows -> uint8[rows, W, C].
  is_whole: bool  # Whether it was decoded as a whole.


def is_large(path: pathlib.Path, max_pixels: int) -> bool:
  """Returns whether an image, by its header, has more pixels than that."""
  width, height = opening.size(path)
  return width * height > max_pixels


@contextlib.contextmanager
def open_rows(
  path: pathlib.Path,
  *,
  num_channels: int,
  channels: str,
  max_pixels: int,
  may_be_dark: Callable[[], bool],
) -> Iterator[Rows]:
  """Opens an image file.

  Args:
    path: of the file.
    num_channels: 1 or 3, of the file; see files.read_image.
    channels: `all` or `green`; see files.keep_channels.
    max_pixels: largest image that is decoded as a whole.
    may_be_dark: see files.read_image.

  Raises:
    InputError: if the file is damaged or of an unsupported kind, or larger and
      not a TIFF; also while it is read.
  """
  keep = functools.partial(files.keep_channels, channels=channels)
  if not is_large(path, max_pixels):
    with opening.of_any_size():
      image = keep(files.read_image(path, num_channels, may_be_dark))
    yield Rows(image.shape[:2], image.__getitem__, is_whole=True)
    return
  width, height = opening.size(path)
  if path.suffix.lower() not in SUFFIXES:
    raise errors.InputError(
      f'{path}: it has {height * width} pixels, and only TIFFs are read in '
      f'parts; save it as a TIFF, or decode it as a whole by '
      f'--max_pixels={height * width}'
    )
  with _naming(path), tifffile.TiffFile(path) as file:
    page = file.pages.first
    _check(path, file)
    band = functools.lru_cache(KEPT)(functools.partial(_band, page))
    length = page.chunks[0]

    def read(rows: slice) -> np.ndarray:
      with _naming(path):
        first, last = rows.start // length, (rows.stop - 1) // length
        parts = [band(i) for i in range(first, last + 1)]
      array = np.concatenate(parts) if len(parts) > 1 else parts[0]
      array = array[rows.start - first * length :][: rows.stop - rows.start]
      return keep(_convert(array, num_channels))

    yield Rows((height, width), read, is_whole=False)


def _check(path: pathlib.Path, file: tifffile.TiffFile) -> None:
  """Refuses kinds of TIFF that are not read in parts."""
  page: Any = file.pages.first
  problem = ''
  if any(other.shape == page.shape for other in file.pages[1:]):
    problem = f'it has {len(file.pages)} pages'
  elif page.dtype not in (np.uint8, np.uint16):
    problem = f'its values are {page.dtype}'
  elif page.samplesperpixel not in (1, 3) or page.planarconfig != 1:
    problem = f'it has {page.samplesperpixel} channels, or keeps them apart'
  elif page.photometric.name not in ('MINISBLACK', 'RGB', 'YCBCR'):
    problem = f'its colours are {page.photometric.name}'
  if problem:
    raise errors.InputError(
      f'{path}: {problem}; to be read in parts, a TIFF must be one page of '
      'grey or RGB values of 8 or 16 bits: convert it'
    )


def _band(page: Any, index: int) -> np.ndarray:
  """Decodes a row of tiles, or a strip: [rows, W, samples]."""
  length = page.chunks[0]
  num_across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
  rows = min(length, page.imagelength - index * length)
  array = np.zeros((rows, page.imagewidth, page.samplesperpixel), page.dtype)
  numbers = range(index * num_across, (index + 1) * num_across)
  tables: dict[str, Any] = {}
  if page.compression.name.endswith('JPEG'):
    tables = dict(jpegtables=page.jpegtables, jpegheader=page.jpegheader)
  segments = page.parent.filehandle.read_segments(
    [page.dataoffsets[i] for i in numbers],
    [page.databytecounts[i] for i in numbers],
    indices=numbers,
  )
  for encoded, number in segments:
    segment, place, shape = page.decode(encoded, number, **tables)
    if segment is not None:  # A tile without bytes is 0.
      left = place[3]
      area = array[:, left : left + shape[2]]
      area[:] = segment.reshape(shape)[0, :rows, : area.shape[1]]
  return array


def _convert(array: np.ndarray, num_channels: int) -> np.ndarray:
  """Turns [H, W, samples] into uint8[H, W, C] as files.read_image does."""
  if array.dtype == np.uint16:
    array = (array >> 8).astype(np.uint8)
  if array.shape[-1] == num_channels:
    return array
  if num_channels == 3:
    return np.repeat(array, 3, axis=-1)
  return np.asarray(Image.fromarray(array).convert('L'))[..., None]


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
  """Turns the errors of tifffile into an InputError that names the file."""
  try:
    yield
  except errors.InputError:
    raise
  except Exception as error:  # Of zlib, struct, NumPy, tifffile and so on.
    text = str(error)
    if 'imagecodecs' in text:
      raise errors.InputError(
        f'{path}: {text}; pip install imagecodecs, or save it uncompressed or '
        'with deflate'
      ) from None
    raise errors.InputError(
      f'{path}: damaged or truncated ({text}); restore or remove it'
    ) from None

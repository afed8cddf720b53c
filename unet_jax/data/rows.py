"""Images read by rows; a TIFF too large for memory is decoded in parts."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tifffile

from unet_jax import errors
from unet_jax.data import image_files, image_kinds, opening, tiff_files

SUFFIXES = ('.tif', '.tiff')
# Rows of tiles, or strips, of a file that stay decoded. Rows are read twice,
# for the network and for the overlay, which lags a little.
KEPT = 4


class Rows(NamedTuple):
  """An image that is read by rows."""

  shape: tuple[int, int]  # H and W.
  read: Callable[[slice], np.ndarray]  # Rows -> [rows, W, C].
  is_whole: bool  # Whether it was decoded as a whole.


def is_large(path: pathlib.Path, max_pixels: int) -> bool:
  """Returns whether an image, by its header, has more pixels than that."""
  width, height = image_kinds.size(path)
  return width * height > max_pixels


@contextlib.contextmanager
def open_rows(
  path: pathlib.Path,
  *,
  kind: image_kinds.Kind,
  channels: str,
  max_pixels: int,
  may_be_dark: Callable[[], bool],
) -> Iterator[Rows]:
  """Opens an image file.

  Args:
    path: of the file.
    kind: kind of the images; see image_files.read_image.
    channels: `all` or `green`; see image_files.keep_channels.
    max_pixels: largest image that is decoded as a whole.
    may_be_dark: see image_files.read_image.

  Raises:
    InputError: if the file is damaged or of an unsupported kind, or larger and
      not a TIFF; also while it is read.
  """
  keep = functools.partial(image_files.keep_channels, channels=channels)
  if not is_large(path, max_pixels):
    with opening.of_any_size():
      image = keep(image_files.read_image(path, kind, may_be_dark))
    yield Rows(image.shape[:2], image.__getitem__, is_whole=True)
    return
  width, height = image_kinds.size(path)
  if path.suffix.lower() not in SUFFIXES or len(kind.parts) > 1:
    raise errors.InputError(
      f'{path}: it has {height * width} pixels, and only a TIFF that is '
      'the one file of an image is read in parts; save it so, or decode it as '
      f'a whole by --max_pixels={height * width}'
    )
  with tiff_files.naming(path), tifffile.TiffFile(path) as file:
    page = file.pages.first
    _check(path, file)
    band = functools.lru_cache(KEPT)(functools.partial(_band, page))
    length = page.chunks[0]

    def read(rows: slice) -> np.ndarray:
      with tiff_files.naming(path):
        first, last = rows.start // length, (rows.stop - 1) // length
        parts = [band(i) for i in range(first, last + 1)]
      array = np.concatenate(parts) if len(parts) > 1 else parts[0]
      array = array[rows.start - first * length :][: rows.stop - rows.start]
      array = image_files.convert(
        array, path, kind.dtype, kind.channels, lambda: True
      )
      return keep(array)

    yield Rows((height, width), read, is_whole=False)


def _check(path: pathlib.Path, file: tifffile.TiffFile) -> None:
  """Refuses kinds of TIFF that are not read in parts."""
  page: Any = file.pages.first
  problem = ''
  if any(other.shape == page.shape for other in file.pages[1:]):
    problem = f'it has {len(file.pages)} pages'
  elif page.dtype.name not in image_kinds.DTYPES:
    problem = f'its values are {page.dtype}'
  elif page.planarconfig != 1:
    problem = 'it keeps its channels apart'
  elif page.photometric.name == 'RGB' and page.samplesperpixel != 3:
    problem = 'its colours have transparency'
  elif page.photometric.name not in ('MINISBLACK', 'RGB', 'YCBCR'):
    problem = f'its colours are {page.photometric.name}'
  if problem:
    raise errors.InputError(
      f'{path}: {problem}; to be read in parts, a TIFF must be one page '
      'whose pixels have all channels: convert it'
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

"""Files that are written from top to bottom: PNG, tiled TIFF, NumPy arrays."""

import concurrent.futures
import contextlib
import pathlib
import queue
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tifffile
from numpy.lib import format as npy
from PIL import Image

from unet_jax import errors

TILE = 256  # Side of the tiles of a TIFF; rows are written in strips of it.

Write = Callable[[np.ndarray], None]  # Takes the next TILE rows, or the last.


class NotWrittenError(errors.InputError):
  """A file can't be written: no later one can, as a rule."""


@contextlib.contextmanager
def open_file(
  path: pathlib.Path,
  shape: tuple[int, ...],
  dtype: type,
  palette: np.ndarray | None = None,
) -> Iterator[Write]:
  """Opens a file for writing; its folder is made if it is missing.

  The file gets its name when it is complete.

  Args:
    path: of the file; its ending, .png, .tif or .npy, decides the format.
    shape: H and W, for .npy also K.
    dtype: uint8 or uint16, for .npy any.
    palette: uint8[N, 3], the colours of values; not for .npy.

  Raises:
    NotWrittenError: if the file can't be written.
  """
  partial = path.with_name(f'{path.name}.partial')
  formats = {'.png': _png, '.tif': _tiff, '.npy': _npy}
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with formats[path.suffix](partial, shape, dtype, palette) as write:
        yield write
      partial.replace(path)
    finally:
      partial.unlink(missing_ok=True)
  except OSError as error:
    raise NotWrittenError(
      f'{path} cannot be written ({error.strerror or error})'
    ) from None


@contextlib.contextmanager
def _png(
  path: pathlib.Path,
  shape: tuple[int, ...],
  dtype: type,
  palette: np.ndarray | None,
) -> Iterator[Write]:
  """Keeps the rows, and writes them at the end."""
  rows: list[np.ndarray] = []
  yield rows.append
  image = Image.fromarray(np.concatenate(rows).astype(dtype).reshape(shape))
  if palette is not None:
    image.putpalette(palette.tobytes())
  image.save(path, 'PNG')


@contextlib.contextmanager
def _npy(
  path: pathlib.Path,
  shape: tuple[int, ...],
  dtype: type,
  palette: np.ndarray | None,
) -> Iterator[Write]:
  """Writes the header, then the rows as they come."""
  del palette
  header = dict(
    descr=npy.dtype_to_descr(np.dtype(dtype)),
    fortran_order=False,
    shape=shape,
  )
  with path.open('wb') as file:
    npy.write_array_header_1_0(file, header)

    def write(rows: np.ndarray) -> None:
      file.write(rows.astype(dtype).tobytes())

    yield write


@contextlib.contextmanager
def _tiff(
  path: pathlib.Path,
  shape: tuple[int, ...],
  dtype: type,
  palette: np.ndarray | None,
) -> Iterator[Write]:
  """Writes tiles as their rows come; a thread does, since tifffile pulls."""
  waiting: queue.Queue[np.ndarray | None] = queue.Queue(maxsize=2)

  def tiles() -> Iterator[np.ndarray]:
    while (rows := waiting.get()) is not None:
      below, right = (-side % TILE for side in rows.shape)
      padded: np.ndarray = np.pad(rows.astype(dtype), ((0, below), (0, right)))
      yield from np.split(padded, padded.shape[1] // TILE, axis=1)

  colors: dict[str, Any] = dict(photometric='minisblack')
  if palette is not None:
    table = np.zeros((3, 256), np.uint16)
    table[:, : len(palette)] = palette.T * np.uint16(257)
    colors = dict(photometric='palette', colormap=table)
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    job = pool.submit(
      tifffile.imwrite,
      path,
      tiles(),
      shape=shape,
      dtype=dtype,
      tile=(TILE, TILE),
      compression='zlib',
      **colors,
    )

    def put(rows: np.ndarray | None) -> None:
      while not job.done():  # It ends early if the disk is full.
        with contextlib.suppress(queue.Full):
          waiting.put(rows, timeout=1)
          return

    try:
      yield put
    finally:
      put(None)
  job.result()

"""TIFFs of which Pillow would leave out pages, channels or bits."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tifffile

from unet_jax import errors
from unet_jax.data import opening

CHANNELS = 'CS'  # Axes whose entries are channels.
SPLIT = {'Z': 'slice', 'T': 'frame'}  # Axes whose entries are samples.


class Tiff(NamedTuple):
  """What a TIFF holds."""

  dtype: np.dtype  # As stored.
  channels: int  # Without an alpha channel.
  size: tuple[int, int]  # Width and height as stored.
  has_alpha: bool


def describe(path: pathlib.Path, pages: str) -> Tiff:
  """Describes a TIFF by its tags.

  Args:
    path: of the file.
    pages: `channels` if pages without a meaning are channels; see Kind.

  Raises:
    InputError: if the file is damaged, or holds more than one image.
  """
  with _open(path) as file:
    series = _find(path, file, pages)
    lengths = dict(zip(series.axes, series.shape, strict=True))
    has_alpha = _has_alpha(series)
    others = [n for axis, n in lengths.items() if axis not in 'YX']
    channels = int(np.prod(others, dtype=int)) - has_alpha
    size = lengths['X'], lengths['Y']
    return Tiff(series.dtype, channels, size, has_alpha)


def read(path: pathlib.Path, pages: str) -> np.ndarray:
  """Decodes a TIFF as stored: [H, W, C], turned as its tags say.

  An alpha channel is the last one. Takes the arguments of `describe`.
  """
  with _open(path) as file:
    series = _find(path, file, pages)
    axes = series.axes
    array = series.asarray()
    turn = file.pages.first.tags.valueof(opening.TURN, 1)
  places = [axes.index('Y'), axes.index('X')]
  places += [i for i in range(array.ndim) if i not in places]
  array = array.transpose(places)
  return _upright(array.reshape(*array.shape[:2], -1), turn)


def _find(path: pathlib.Path, file: tifffile.TiffFile, pages: str) -> Any:
  """Returns the one image of a file; refuses stacks."""
  images = [x for x in file.series if not x.keyframe.is_reduced]
  if len(images) != 1:
    raise errors.InputError(
      f'{path}: it has {len(images)} images of different kinds; save the one '
      'that training should see'
    )
  (series,) = images
  for axis, length in zip(series.axes, series.shape, strict=True):
    if length == 1 or axis in CHANNELS or axis in 'YX':
      continue
    name = SPLIT.get(axis, 'page')
    text = (
      f'{path}: it has {length} {name}s, and a sample is one image; save each '
      f'{name} of images and masks as a file: {path.stem}_0000{path.suffix} '
      'and so on'
    )
    if axis in SPLIT:
      raise errors.InputError(text)
    if pages != 'channels':
      raise errors.InputError(
        f'{text}; if its pages are channels, use --config.data.pages=channels'
      )
  return series


def _has_alpha(series: Any) -> bool:
  """Returns whether the last sample of an image is its transparency."""
  page = series.keyframe
  return (
    page.samplesperpixel == 4
    and page.photometric.name == 'RGB'
    and page.extrasamples[:1] in ((1,), (2,))
  )


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
  """Turns [H, W, C] as EXIF's orientation says."""
  if orientation > 4:
    array = array.swapaxes(0, 1)
  if orientation in (3, 4, 7, 8):
    array = array[::-1]
  if orientation in (2, 3, 6, 7):
    array = array[:, ::-1]
  return array


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[tifffile.TiffFile]:
  # Other files that the metadata may name are samples of their own.
  with naming(path), tifffile.TiffFile(path, _multifile=False) as file:
    yield file


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Turns the errors of tifffile into an InputError that names the file."""
  try:
    yield
  except errors.InputError:
    raise
  except Exception as error:  # Of zlib, struct, NumPy, tifffile and so on.
    text = ' '.join(str(error).split()) or type(error).__name__
    if 'imagecodecs' in text:
      raise errors.InputError(
        f'{path}: {text}; pip install imagecodecs, or save it uncompressed or '
        'with deflate'
      ) from None
    raise errors.InputError(
      f'{path}: damaged or truncated ({text}); restore or remove it'
    ) from None

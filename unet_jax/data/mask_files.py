"""Mask files -> uint8 or bool arrays, with every fault named in one line."""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import ImageFile

from unet_jax import errors
from unet_jax.data import opening

MOST_CLASSES = 254  # More values than that number objects.


def read_index(
  path: pathlib.Path, *, task: str, has_instances: Callable[[], bool]
) -> np.ndarray:
  """Decodes a mask of indices as stored: uint8, int32 or bool[H, W].

  A palette file gives its indices: converting it to grey would turn class 1
  into the brightness of that class's colour. Pillow scales 2-bit and 4-bit
  indices to 0 to 255, which is undone.

  Args:
    path: of the file.
    task: under `binary`, masks of instances give bool, True where above 0.
    has_instances: returns whether the masks of 16 and 32 bits of a set number
      objects; see `number_instances`.

  Raises:
    InputError: if the file is damaged, has values below 0, or has instances
      where the task is another.
  """
  with opening.open_image(path) as image:
    tiles = opening.tiles(image)  # Pillow forgets them when it decodes.
    array = _grey_mask(image, path)
  if array.itemsize == 1:
    few = 85 if 'L;2' in tiles else 17 if 'L;4' in tiles else 0
    return array // np.uint8(few) if few else array
  if array.min() < 0:
    raise errors.InputError(
      f'{path}: mask value {array.min()} is below 0; save it as a PNG of '
      'indices'
    )
  if has_instances():
    if task != 'binary':
      raise errors.InputError(
        f'{path}: the masks beside it have more than {MOST_CLASSES} different '
        'values, which number objects, not classes; make one class of all '
        'above 0: --config binary:folder --config.data.masks.kind=index'
      )
    return array > 0
  return array.astype(np.uint8 if array.max() <= 255 else np.int32)


def number_instances(paths: Iterable[pathlib.Path]) -> bool:
  """Returns whether masks of 16 and 32 bits number objects, not classes.

  So they do if they have more than MOST_CLASSES different values in all. Skips
  damaged files, and those of 8 bits.
  """
  values: set[int] = set()
  for path in paths:
    try:
      with opening.open_image(path) as image:
        if image.mode.startswith('I'):
          values.update(np.unique(_grey_mask(image, path)).tolist())
    except errors.InputError:
      continue  # Reading the set names the file.
    if len(values) > MOST_CLASSES:
      return True
  return False


def read_levels(path: pathlib.Path, *, white: Callable[[], int]) -> np.ndarray:
  """Decodes a mask whose values are brightness: uint8 or bool[H, W].

  Args:
    path: of the file.
    white: returns what white is, 255 or 65535, in the masks of 16 and 32 bits
      of a set; see `find_white`.
  """
  with opening.open_image(path) as image:
    array = _grey_mask(image, path)
  if array.itemsize == 1:
    return array
  full = white()
  if not full:
    raise errors.InputError(
      f'{path}: masks of 16 or 32 bits end at 255 in some files, and go '
      'beyond in others; save all masks with 8 bits'
    )
  if not 0 <= array.min() <= array.max() <= full:
    value = array.min() if array.min() < 0 else array.max()
    raise errors.InputError(
      f'{path}: mask value {value} is not from 0 to {full}; save it as an '
      '8-bit PNG of indices'
    )
  return (array >> (8 if full > 255 else 0)).astype(np.uint8)


def find_white(paths: Iterable[pathlib.Path]) -> int:
  """Returns what white is in the masks of 16 and 32 bits of a set.

  255 if no value is above it, since such masks were made with 8 bits; else
  65535; 0 if the set has masks of both. Skips damaged files, and those of 8
  bits.
  """
  tops = set()
  for path in paths:
    try:
      with opening.open_image(path) as image:
        if image.mode.startswith('I'):
          tops.add(_grey_mask(image, path).max())
    except errors.InputError:
      continue  # Reading the set names the file.
  tops -= {0}  # An empty mask may be either.
  if not tops or max(tops) <= 255:
    return 255
  return 0 if min(tops) <= 255 else 65535


def read_view(path: pathlib.Path) -> np.ndarray:
  """Decodes a mask of the field of view: bool[H, W], True where not 0."""
  with opening.open_image(path) as image:
    return _grey_mask(image, path) > 0


def _grey_mask(image: ImageFile.ImageFile, path: pathlib.Path) -> np.ndarray:
  """Decodes one channel, [H, W], as stored.

  Transparent pixels are the background, 0, as tools mean that draw classes on
  nothing. Of equal channels one is taken: WebP and AVIF have no others for
  grey.
  """
  # Pillow keeps the upper 8 of 16 bits where there are several channels.
  is_cut = ';16' in opening.tiles(image)
  opening.decode(image.load, path)
  array = np.asarray(image)
  if image.mode in ('LA', 'RGBA'):
    array = _on_black(array, path)
  is_rgb = image.mode in ('RGB', 'RGBA', 'LA') and not is_cut
  if is_rgb and (array == array[..., :1]).all():
    return array[..., 0]
  if image.mode not in ('1', 'L', 'P', 'I') and not opening.is_deep_grey(image):
    raise errors.InputError(
      f'{path}: a mask has one channel, this file has {image.mode}; save it '
      'as an 8-bit PNG of indices, or use --config.data.masks.kind=color'
    )
  return array


def _on_black(array: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """Drops the alpha of uint8[H, W, C]; what it hides becomes 0.

  Raises:
    InputError: if a pixel is half transparent, or all are, and hide values.
  """
  alpha, array = array[..., -1:], array[..., :-1]
  is_half = ((alpha > 0) & (alpha < 255)).any()
  if is_half or not alpha.any() and array.min() < array.max():
    raise errors.InputError(
      f'{path}: {"some pixels" if is_half else "all pixels"} of the mask are '
      f'{"half " if is_half else ""}transparent; save it without an alpha '
      'channel'
    )
  return array * (alpha > 0)

"""Planes, maps of weights and pictures: reading, writing and scaling them."""

import pathlib

import numpy as np
from PIL import Image

from unet_jax import errors
from unet_jax.data import opening


def read_planes(path: pathlib.Path) -> np.ndarray:
  """Reads an array of planes [H, W, K]: bool, integers, or floats."""
  array = opening.load_array(path)
  if array.ndim != 3 or array.dtype.kind not in 'buif':
    raise errors.InputError(
      f'{path} holds {array.dtype}{list(array.shape)}; planes are numbers of '
      'the shape [height, width, classes]'
    )
  return array


def read_weights(path: pathlib.Path) -> np.ndarray:
  """Reads how much each pixel counts in the loss: float32[H, W], 0 or more.

  A .npy file has the weights themselves. In an image file of 8 or 16 bits,
  black is 0 and white is 1.
  """
  if path.suffix.lower() == '.npy':
    array = opening.load_array(path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in 'buif':
      raise errors.InputError(
        f'{path} holds {array.dtype}{list(array.shape)}; weights are numbers '
        'of the shape [height, width]'
      )
    array = array.astype(np.float32)
  else:
    array = _read_grey(path)
  if not (array.min() >= 0 and array.max() < np.inf):  # Also catches NaN.
    raise errors.InputError(
      f'{path}: weights must be finite and 0 or more, but these '
      f'are {array.min():.4g} to {array.max():.4g}; correct the file'
    )
  if not array.any():
    raise errors.InputError(
      f'{path}: every weight is 0, so that no pixel of the image '
      'counts; correct the file, or leave the image out'
    )
  return array


def _read_grey(path: pathlib.Path) -> np.ndarray:
  """Decodes a grey file as float32[H, W], from 0 to 1 for white."""
  with opening.open_image(path) as image:
    opening.refuse_wide(image, path)
    if image.mode not in ('1', 'L') and not opening.is_deep_grey(image):
      raise errors.InputError(
        f'{path}: a map of weights has one channel, this file has '
        f'{image.mode}; save it as a grey PNG, or as .npy'
      )
    opening.decode(image.load, path)
    array = np.asarray(image)
  white = 1 if array.dtype == bool else np.iinfo(array.dtype).max
  return array.astype(np.float32) / np.float32(white)


def write_png(array: np.ndarray, path: pathlib.Path) -> None:
  """Writes uint8[H, W] or [H, W, 3]; makes the folder if it is missing.

  A path that ends with .jpg gets a JPEG instead, a tenth as large.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
  except OSError as error:
    raise errors.InputError(
      f'{path} cannot be written ({error.strerror or error})'
    ) from None


def rescale(array: np.ndarray, longer_side: int, resample: int) -> np.ndarray:
  """Scales an array [H, W] or [H, W, C] to a longer side in pixels."""
  height, width = array.shape[:2]
  scale = longer_side / max(height, width)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return resize(array, size, resample)


def resize(
  array: np.ndarray, size: tuple[int, int], resample: int
) -> np.ndarray:
  """Scales [H, W] or [H, W, C] to `size`, (width, height).

  The type, uint8, uint16, int16 or float32, stays.
  """
  if array.ndim == 2 and array.dtype.itemsize == 2:  # Pillow lacks filters.
    scaled = resize(array.astype(np.float32), size, resample)
    return np.rint(scaled).astype(array.dtype)
  if array.ndim == 2:
    return np.asarray(Image.fromarray(array).resize(size, resample))
  planes = [
    resize(array[..., i], size, resample) for i in range(array.shape[2])
  ]
  return np.stack(planes, axis=-1)

"""Image and mask files -> uint8 arrays, with every fault named in one line."""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageFile, ImageOps

from unet_jax import errors
from unet_jax.data import opening

DIM = 16  # Upper 8 bits below which a 16-bit file has at most 12 bits.


def num_channels(paths: list[pathlib.Path]) -> int:
  """Returns 1 if the files, by their headers, are all grey, else 3."""
  for path in paths:
    with opening.open_image(path) as image:
      _refuse_wide(image, path)
      if image.mode not in ('1', 'L', 'LA', 'I') and not opening.is_deep_grey(
        image
      ):
        return 3
  return 1


def read_image(
  path: pathlib.Path,
  channels: int,
  may_be_dark: Callable[[], bool] = lambda: False,
) -> np.ndarray:
  """Decodes a file as uint8[H, W, channels], channels 1 or 3.

  The image is rotated as its EXIF says. 16-bit values keep their upper 8 bits.

  Args:
    path: of the file.
    channels: number of channels.
    may_be_dark: returns whether a file of 16 bits may have low values alone, as
      it may if others of its set are brighter; see `has_bright`.

  Raises:
    InputError: if the file is damaged, has transparent pixels, or has 16 bits
      of which the upper ones are hardly used.
  """
  with opening.open_image(path) as image:
    _refuse_wide(image, path)
    is_deep = _is_deep(image)  # Pillow forgets this when it decodes.
    opening.decode(ImageOps.exif_transpose, path, image, in_place=True)
    opening.decode(image.load, path)
    if image.has_transparency_data:
      alpha = np.asarray(image.convert('RGBA').getchannel('A'))  # [H, W]
      if alpha.min() < 255:
        raise errors.InputError(
          f'{path}: some of its pixels are transparent; save it without an '
          'alpha channel, on the background that it should have'
        )
    if image.mode == 'I' or opening.is_deep_grey(image):
      grey = (np.asarray(image) >> 8).astype(np.uint8)
      array = np.repeat(grey[..., None], channels, axis=-1)
    else:
      array = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
  if is_deep and array.max() < DIM and not may_be_dark():
    raise errors.InputError(
      f'{path}: a 16-bit file whose values are all below 4096, so that its '
      'upper 8 bits hold almost nothing; scale its values to 0 to 65535, or '
      'save it with 8 bits'
    )
  return array.reshape(*array.shape[:2], channels)


def has_bright(paths: Iterable[pathlib.Path]) -> bool:
  """Returns whether a file uses the upper bits of 16; skips damaged files."""
  for path in paths:
    try:
      with opening.open_image(path) as image:
        if _is_deep(image) and _is_bright(image, path):
          return True
    except errors.InputError:
      continue  # Reading the set names the file.
  return False


def _is_bright(image: ImageFile.ImageFile, path: pathlib.Path) -> bool:
  array = opening.decode(np.asarray, path, image)
  return array.max() >> (8 if array.itemsize > 1 else 0) >= DIM


def keep_channels(image: np.ndarray, channels: str) -> np.ndarray:
  """Returns uint8[H, W, C] of `all` channels, or `green` of a colour image.

  In photographs of a retina, green shows vessels and red lesions best.
  """
  is_color = image.shape[-1] == 3
  return image[..., 1:2] if channels == 'green' and is_color else image


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
    _refuse_wide(image, path)
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
  """Scales uint8 or float32 [H, W] or [H, W, C] to a longer side in pixels."""
  height, width = array.shape[:2]
  scale = longer_side / max(height, width)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return resize(array, size, resample)


def resize(
  array: np.ndarray, size: tuple[int, int], resample: int
) -> np.ndarray:
  """Scales uint8 or float32 [H, W] or [H, W, C] to `size`, (width, height)."""
  if array.ndim == 2:
    return np.asarray(Image.fromarray(array).resize(size, resample))
  planes = [
    resize(array[..., i], size, resample) for i in range(array.shape[2])
  ]
  return np.stack(planes, axis=-1)


def _refuse_wide(image: ImageFile.ImageFile, path: pathlib.Path) -> None:
  """Refuses an image, not a mask, of signed or 32-bit values."""
  # Pillow reads 16-bit grey of PPM as mode I.
  if image.mode == 'I' and image.format != 'PPM':
    raise errors.InputError(
      f'{path}: its values are signed or of 32 bits; save it with 8 or 16 bits'
    )


def _is_deep(image: ImageFile.ImageFile) -> bool:
  """Returns whether a file has 16 bits; in colour, Pillow reads 8 of them."""
  if opening.is_deep_grey(image) or ';16' in opening.tiles(image):
    return True
  return any(
    codec.startswith('ppm') and isinstance(args, tuple) and args[-1] > 255
    for codec, _, _, args in image.tile
  )

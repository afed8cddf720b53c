"""Image files -> arrays [H, W, C] at their depth, with every fault named."""

import pathlib
from collections.abc import Callable, Iterable

import numpy as np
from PIL import ImageFile, ImageOps

from unet_jax import errors
from unet_jax.data import image_kinds, opening, tiff_files

DIM = 16  # Upper 8 bits below which a 16-bit file has at most 12 bits.
WIDER = 257  # White of 16 bits is so many times white of 8 bits.
# Shares of red, green and blue in grey, in 65536ths, as Pillow has them.
LUMINANCE = np.array([19595, 38470, 7471])


def read_image(
  path: pathlib.Path,
  kind: image_kinds.Kind = image_kinds.RGB,
  may_be_dark: Callable[[], bool] = lambda: False,
) -> np.ndarray:
  """Decodes a sample's image: [H, W, C], of the kind's type and channels.

  It is rotated as its EXIF says. Where 8 bits are wanted, 16-bit values keep
  their upper 8 bits; where 16 are, 8-bit values are scaled by 257.

  Args:
    path: of the sample's first file.
    kind: what all images have in common.
    may_be_dark: returns whether a file of 16 bits, of which 8 are wanted, may
      have low values alone, as it may if others of its set are brighter; see
      `has_bright`.

  Raises:
    InputError: if the file is damaged, of another kind, has transparent
      pixels, NaN or infinity, or has 16 bits of which the upper ones are hardly
      used though only these are kept.
  """
  images: list[np.ndarray] = []
  files = image_kinds.files_of(path, kind)
  for file, (_, channels) in zip(files, kind.parts, strict=True):
    image = _read_file(file, kind, channels, may_be_dark)
    if images and image.shape[:2] != images[0].shape[:2]:
      raise errors.InputError(
        f'{file}: {image.shape[1]}x{image.shape[0]} pixels, but {path} has '
        f'{images[0].shape[1]}x{images[0].shape[0]}; export both at one size'
      )
    images.append(image)
  return images[0] if len(images) == 1 else np.concatenate(images, axis=-1)


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


def keep_channels(image: np.ndarray, channels: str) -> np.ndarray:
  """Returns [H, W, C] of `all` channels, or `green` of a colour image.

  In photographs of a retina, green shows vessels and red lesions best.

  Raises:
    InputError: if green is asked of an image that is neither grey nor RGB.
  """
  if channels == 'all' or image.shape[-1] == 1:
    return image
  if image.shape[-1] != 3:
    raise errors.InputError(
      f'config.data.channels=green needs images of 3 channels, red, green and '
      f'blue, but these have {image.shape[-1]}; use --config.data.channels=all'
    )
  return image[..., 1:2]


def _read_file(
  path: pathlib.Path,
  kind: image_kinds.Kind,
  channels: int,
  may_be_dark: Callable[[], bool],
) -> np.ndarray:
  """Decodes one file: [H, W, channels] of the kind's type."""
  if path.suffix.lower() == '.npy':
    array = opening.load_array(path)
    array = array.reshape(image_kinds.shape_of(path, array))
  elif image_kinds.is_whole(path, narrow=kind.dtype == 'uint8'):
    array = _decode(path, channels, may_be_dark)
  else:
    array = tiff_files.read(path, kind.pages)
    if tiff_files.describe(path, kind.pages).has_alpha:
      array = _without_alpha(path, array)
  return convert(array, path, kind.dtype, channels, may_be_dark)


def _decode(
  path: pathlib.Path, channels: int, may_be_dark: Callable[[], bool]
) -> np.ndarray:
  """Decodes a file by Pillow: uint8 or uint16[H, W, 1 or 3]."""
  with opening.open_image(path) as image:
    opening.refuse_wide(image, path)
    is_cut = _is_deep(image)  # Pillow forgets this when it decodes.
    opening.decode(ImageOps.exif_transpose, path, image, in_place=True)
    opening.decode(image.load, path)
    if image.has_transparency_data:
      alpha = np.asarray(image.convert('RGBA').getchannel('A'))  # [H, W]
      if alpha.min() < 255:
        raise errors.InputError(_hint_alpha(path))
    if image.mode == 'I' or opening.is_deep_grey(image):
      return np.asarray(image).astype(np.uint16)[..., None]
    is_grey = channels == 1 or image.mode in ('1', 'L', 'LA')
    array = np.asarray(image.convert('L' if is_grey else 'RGB'))
  if is_cut:
    _refuse_dim(path, array, may_be_dark)
  return array.reshape(*array.shape[:2], -1)


def convert(
  array: np.ndarray,
  path: pathlib.Path | str,
  dtype: str,
  channels: int,
  may_be_dark: Callable[[], bool],
) -> np.ndarray:
  """Returns an image as stored, [H, W, C], with a type and channels.

  Args:
    array: the image, or some rows of it.
    path: of the file, or what to call it in messages.
    dtype: one of DTYPES.
    channels: number of channels.
    may_be_dark: see `read_image`.

  Raises:
    InputError: if values are not finite, or cannot be converted.
  """
  array = array.astype(image_kinds.name_dtype(path, array.dtype), copy=False)
  refuse_not_finite(array, str(path))
  return _to_dtype(
    _to_channels(array, channels, path), dtype, path, may_be_dark
  )


def refuse_not_finite(array: np.ndarray, where: str) -> None:
  """Refuses an image with NaN or infinity; `where` is its file."""
  if array.dtype.kind == 'f' and not np.isfinite(array).all():
    count = array.size - np.count_nonzero(np.isfinite(array))
    raise errors.InputError(
      f'{where}: {count} of its values are NaN or infinite; replace them by a '
      'finite value, and mark their pixels as void in the mask'
    )


def _to_channels(
  array: np.ndarray, channels: int, path: pathlib.Path | str
) -> np.ndarray:
  """Returns [H, W, channels]: grey as RGB, RGB as grey, or as it is."""
  if array.shape[-1] == channels:
    return array
  if (array.shape[-1], channels) == (1, 3):
    return np.repeat(array, 3, axis=-1)
  if (array.shape[-1], channels) == (3, 1):
    if array.dtype.kind == 'f':
      return (array @ (LUMINANCE / 2**16)).astype(array.dtype)[..., None]
    grey = (array @ LUMINANCE + 2**15) >> 16  # As Pillow rounds.
    return grey.astype(array.dtype)[..., None]
  raise errors.InputError(
    f'{path}: it has {array.shape[-1]} channels instead of {channels}; save it '
    'with the channels that the training images have'
  )


def _to_dtype(
  array: np.ndarray,
  want: str,
  path: pathlib.Path | str,
  may_be_dark: Callable[[], bool],
) -> np.ndarray:
  """Returns an image of a type; 8 and 16 bits become each other."""
  have = array.dtype.name
  if have == want:
    return array
  if (have, want) == ('uint16', 'uint8'):
    array = (array >> 8).astype(np.uint8)
    _refuse_dim(path, array, may_be_dark)
    return array
  if (have, want) == ('uint8', 'uint16'):
    return array.astype(np.uint16) * np.uint16(WIDER)
  raise errors.InputError(
    f'{path}: its values are {have}, but those of the training images are '
    f'{want}; save it alike'
  )


def _refuse_dim(
  path: pathlib.Path | str, array: np.ndarray, may_be_dark: Callable[[], bool]
) -> None:
  """Refuses uint8[H, W, C] that 12 bits have become by losing 8 of 16."""
  if array.max() < DIM and not may_be_dark():
    raise errors.InputError(
      f'{path}: a 16-bit file whose values are all below 4096, of which the '
      'upper 8 bits are kept, and these hold almost nothing; scale its values '
      'to 0 to 65535, or, if it is read for training, save it as a TIFF and '
      'use --config.data.bits=stored'
    )


def _without_alpha(path: pathlib.Path, array: np.ndarray) -> np.ndarray:
  if array[..., -1].min() < np.iinfo(array.dtype).max:
    raise errors.InputError(_hint_alpha(path))
  return array[..., :-1]


def _hint_alpha(path: pathlib.Path) -> str:
  text = (
    f'{path}: some of its pixels are transparent; save it without an alpha '
    'channel, on the background that it should have'
  )
  if opening.is_tiff(path):
    text += (
      '; if the fourth channel is no transparency, write it by '
      "tifffile.imwrite(..., photometric='minisblack', planarconfig='contig')"
    )
  return text


def _is_bright(image: ImageFile.ImageFile, path: pathlib.Path) -> bool:
  array = opening.decode(np.asarray, path, image)
  return array.max() >> (8 if array.itemsize > 1 else 0) >= DIM


def _is_deep(image: ImageFile.ImageFile) -> bool:
  """Returns whether a file has 16 bits; in colour, Pillow reads 8 of them."""
  if opening.is_deep_grey(image) or ';16' in opening.tiles(image):
    return True
  return any(
    codec.startswith('ppm') and isinstance(args, tuple) and args[-1] > 255
    for codec, _, _, args in image.tile
  )

"""Image and mask files -> uint8 arrays, with every fault named in one line."""

import pathlib

import numpy as np
from PIL import Image

from unet_jax import config as config_lib

SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.gif', '.ppm')
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def find(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns {NAME: path} of the image files directly in `folder`."""
  if not folder.is_dir():
    raise config_lib.InputError(f'{folder}: no such folder')
  found = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in SUFFIXES and not path.name.startswith('.'):
      if path.stem in found:
        raise config_lib.InputError(
          f'{found[path.stem]} and {path.name} have the same name; keep one'
        )
      found[path.stem] = path
  if not found:
    raise config_lib.InputError(
      f'{folder} holds no image ({", ".join(SUFFIXES)})'
    )
  return found


def num_channels(paths: list[pathlib.Path]) -> int:
  """Returns 1 if the files, by their headers, are all grey, else 3."""
  for path in paths:
    with _open(path) as image:
      if image.mode not in ('1', 'L', 'LA'):
        return 3
  return 1


def read_image(path: pathlib.Path, channels: int) -> np.ndarray:
  """Decodes a file as uint8[H, W, channels], channels 1 or 3."""
  with _open(path) as image:
    array = np.asarray(
      _decode(image.convert, path, 'L' if channels == 1 else 'RGB')
    )
  return array[..., None] if channels == 1 else array


def keep_channels(image: np.ndarray, channels: str) -> np.ndarray:
  """Returns uint8[H, W, C] of `all` channels, or of `green` if there is one.

  In a retina's photograph green has the best contrast of vessels and red
  lesions.
  """
  is_color = image.shape[-1] == 3
  return image[..., 1:2] if channels == 'green' and is_color else image


def read_mask(path: pathlib.Path, *, as_index: bool) -> np.ndarray:
  """Decodes a mask as stored, uint8[H, W] or bool[H, W].

  A palette file gives its indices: converting it to grey would turn class 1
  into the brightness of that class's colour.

  Args:
    path: of the file.
    as_index: whether grey values are indices. Pillow spreads those of 2 and 4
      bits over 0 to 255, as suits a brightness.
  """
  with _open(path) as image:
    if image.mode not in ('1', 'L', 'P'):
      raise config_lib.InputError(
        f'{path}: a mask has one channel, this file has {image.mode}; save it '
        'as an 8-bit PNG of indices'
      )
    tiles = _tiles(image)  # Gone once it is decoded.
    _decode(image.load, path)
    array = np.asarray(image)
  if as_index and ('L;2' in tiles or 'L;4' in tiles):
    array = array // np.uint8(85 if 'L;2' in tiles else 17)
  return array


def write_png(array: np.ndarray, path: pathlib.Path) -> None:
  """Writes uint8[H, W] or [H, W, 3], making the folder if need be."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
  except OSError as error:
    raise config_lib.InputError(
      f'{path} can not be written ({error.strerror or error})'
    ) from None


def rescale(array: np.ndarray, longer_side: int, resample: int) -> np.ndarray:
  """Scales uint8[H, W(, C)] so that its longer side has that many pixels."""
  height, width = array.shape[:2]
  scale = longer_side / max(height, width)
  size = (max(1, round(width * scale)), max(1, round(height * scale)))
  return resize(array, size, resample)


def resize(
  array: np.ndarray, size: tuple[int, int], resample: int
) -> np.ndarray:
  """Scales uint8[H, W(, C)] to `size` = (width, height)."""
  if array.ndim == 2:
    return np.asarray(Image.fromarray(array).resize(size, resample))
  planes = [
    resize(array[..., i], size, resample) for i in range(array.shape[2])
  ]
  return np.stack(planes, axis=-1)


def _open(path: pathlib.Path) -> Image.Image:
  try:
    image = Image.open(path)
  except FileNotFoundError:
    raise config_lib.InputError(f'{path}: no such file') from None
  except UNREADABLE as error:
    raise config_lib.InputError(
      f'{path}: not a readable image ({error}); restore or remove it'
    ) from None
  # Pillow gives a 16-bit RGB file's upper bytes without a word.
  is_deep = ';16' in _tiles(image) or any(
    codec.startswith('ppm') and args[-1] > 255
    for codec, _, _, args in image.tile
  )
  if image.mode.startswith(('I', 'F')) or is_deep:
    image.close()
    raise config_lib.InputError(
      f'{path}: 16-bit files are not supported yet; save it with 8 bits'
    )
  return image


def _tiles(image: Image.Image) -> str:
  """Tells how the file holds its values, as far as Pillow says."""
  return ' '.join(str(tile[3]) for tile in image.tile)


def _decode(function, path: pathlib.Path, *args):
  try:
    return function(*args)
  except UNREADABLE as error:
    raise config_lib.InputError(
      f'{path}: damaged or truncated ({error}); restore or remove it'
    ) from None

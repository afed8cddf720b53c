"""A file as it is stored, before training interprets it."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from unet_jax.data import image_kinds, opening, tiff_files

ORIENTATION = 0x0112  # EXIF's tag for the rotation of an image.
SWAPPED = (5, 6, 7, 8)  # Its values that swap width and height.


class File(NamedTuple):
  """A file of an image or a mask, or an array of TFDS."""

  path: str
  size: tuple[int, int]  # Width and height.
  kind: str  # Pillow's mode, L or RGB, or the array's type.
  format: str = ''  # PNG, JPEG, ...
  orientation: int = 1  # EXIF's; 1 is upright.
  values: Mapping[int | str, int] = {}  # A mask's: value or #rrggbb -> pixels.

  @property
  def upright(self) -> tuple[int, int]:
    """Returns width and height after EXIF rotation."""
    return self.size[::-1] if self.orientation in SWAPPED else self.size


def read(path: pathlib.Path) -> tuple[File, np.ndarray]:
  """Reads a file as stored: its description, and [H, W] or [H, W, C].

  Raises:
    InputError: if the file cannot be read.
  """
  if path.suffix == '.npy':
    array = opening.load_array(path)
    return describe(str(path), array), array
  with opening.open_file(path) as image:
    exif = opening.decode(image.getexif, path)
    orientation = exif.get(ORIENTATION, 1)
    array = opening.decode(np.asarray, path, image)
    file = File(
      str(path), image.size, image.mode, image.format or '', orientation
    )
  return file, array


def read_image(
  path: pathlib.Path, kind: image_kinds.Kind
) -> tuple[File, np.ndarray]:
  """Reads an image as stored; several files of a sample as one.

  Args:
    path: of the sample's first file.
    kind: of the images of the data set; only its parts and pages are used.

  Raises:
    InputError: if a file cannot be read.
  """
  paths = image_kinds.files_of(path, kind)
  if len(paths) > 1:
    arrays = [read_image(x, image_kinds.RGB)[1] for x in paths]
    array = np.concatenate([np.atleast_3d(x) for x in arrays], axis=-1)
    return describe(str(path), array), array
  if path.suffix.lower() == '.npy' or image_kinds.is_whole(path):
    return read(path)
  array = tiff_files.read(path, kind.pages)
  return describe(str(path), array), array


def describe(path: str, array: np.ndarray) -> File:
  """Describes an array, [H, W] or [H, W, C], as if it were a file."""
  return File(path, array.shape[1::-1], str(array.dtype))

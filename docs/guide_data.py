"""Looks at the masks of the guide as the experts gave them."""

import pathlib
from typing import NamedTuple

import guide_sets
import numpy as np
from PIL import Image
from scipy import ndimage

from unet_jax.data import image_files

# Folders of masks -> class; those of the tutorial.
RED = ('hemorrhages', 'redsmalldots')
BRIGHT = ('hardexudates', 'softexudates')


class Masks(NamedTuple):
  """One image and its masks.

  Attributes:
    name: of the image.
    image: uint8[H, W, 3].
    grey: {folder: uint8[H, W]}, for how many experts agree.
  """

  name: str
  image: np.ndarray
  grey: dict[str, np.ndarray]

  def union(self, folders: tuple[str, ...] = RED + BRIGHT) -> np.ndarray:
    """Returns the most that any of these masks has, uint8[H, W]."""
    return np.max([self.grey[folder] for folder in folders], axis=0)

  def classes(self, level: int) -> np.ndarray:
    """Returns red and bright lesions from a grey level on, bool[H, W, 2]."""
    merged = [self.union(RED), self.union(BRIGHT)]
    return np.stack(merged, axis=-1) >= level


def read(sets: guide_sets.Sets, split: str) -> list[Masks]:
  """Reads the images of a split of the lesions."""
  names = (sets.grey.parent / f'{split}.txt').read_text().split()
  return [_read(sets, name) for name in names]


def _read(sets: guide_sets.Sets, name: str) -> Masks:
  path = next(sets.images.glob(f'{name}.*'))
  image = image_files.read_image(path)
  nothing = np.zeros(image.shape[:2], np.uint8)
  grey = {}
  for folder in RED + BRIGHT:
    mask: pathlib.Path = sets.grey / folder / f'{name}.png'
    grey[folder] = np.asarray(Image.open(mask)) if mask.exists() else nothing
  return Masks(name, image, grey)


def most_disputed(images: list[Masks]) -> Masks:
  """Returns the image whose experts disagree about most pixels."""

  def disputed(masks: Masks) -> int:
    grey = masks.union()
    has_all = all(x.any() for x in masks.grey.values())
    return has_all * int(np.count_nonzero((grey > 0) & (grey < 252)))

  return max(images, key=disputed)


def cuts(images: list[Masks], levels: tuple[int, ...]) -> list[dict]:
  """Counts what is left of all lesions at each grey level.

  Returns:
    For each level the percentage of the pixels, and the number of objects, of
    all kinds and images together.
  """
  rows = []
  for level in levels:
    kept = [x.union() >= level for x in images]
    rows.append(
      {
        'level': level,
        'experts': -(-level // guide_sets.LEVEL),
        'percent': 100 * np.mean([x.mean() for x in kept]),
        'objects': sum(ndimage.label(x, np.ones((3, 3)))[1] for x in kept),
      }
    )
  return rows

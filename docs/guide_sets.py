"""The data sets of the guide: drawings as a folder, or STARE and DIARETDB1."""

import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from unet_jax.data import files
from unet_jax.data.synthetic_fundus import embedded, lesions, photograph

NUM_EXPERTS = 4
LEVEL = 63  # Grey level of one expert; that of four is 252, as in DIARETDB1.
MAJORITY = 2 * LEVEL
MERGE = (
  '--config.data.masks.merge.red_lesions=hemorrhages,redsmalldots',
  '--config.data.masks.merge.bright_lesions=hardexudates,softexudates',
)


class Sets(NamedTuple):
  """What the guide trains on.

  Attributes:
    images: folder of the images with lesions.
    grey: folder of folders of masks, as the experts gave them.
    binary: arguments of a run of one class, without those of its length.
    lesions: arguments of a run of two classes.
    level: grey level from which these runs count a pixel as a lesion.
    shifted: arguments by which the splits differ.
  """

  images: pathlib.Path
  grey: pathlib.Path
  binary: tuple[str, ...]
  lesions: tuple[str, ...]
  level: int
  shifted: tuple[str, ...] = ()


def real(root: pathlib.Path) -> Sets:
  """Returns STARE and DIARETDB1, whose presets read UNET_JAX_DATA."""
  return Sets(
    root / 'diaretdb1_lesions/images',
    root / 'diaretdb1_lesions/GT',
    ('binary:stare',),
    ('multiclass:diaretdb1',),
    26,
  )


def drawn(root: pathlib.Path) -> Sets:
  """Writes the drawings as a folder, unless it is there."""
  if not (root / 'test.txt').exists():
    for split, number in embedded.NUM_IMAGES.items():
      names = [_write(root, split, i) for i in range(number)]
      (root / f'{split}.txt').write_text('\n'.join(names) + '\n')
  folder = f'--config.data.root={root}'
  return Sets(
    root / 'images',
    root / 'GT',
    ('binary:folder', folder, '--config.data.classes=vessels'),
    (
      *('multiclass:folder', folder, '--config.data.masks.kind=folders'),
      f'--config.data.masks.threshold={MAJORITY}',
      '--config.data.classes=red_lesions,bright_lesions',
      *MERGE,
    ),
    MAJORITY,
    _sorted_splits(root),
  )


def _sorted_splits(root: pathlib.Path) -> tuple[str, ...]:
  """Returns arguments by which images without bright lesions become val."""
  masks = {
    path.stem: max(
      Image.open(root / 'GT' / kind / path.name).getextrema()[1]
      for kind in ('hardexudates', 'softexudates')
    )
    for path in sorted((root / 'images').glob('train*.png'))
  }
  val = ', '.join(name for name in masks if not masks[name])
  train = ', '.join(name for name in masks if masks[name])
  return (
    f'--config.data.split.train={train}',
    f'--config.data.split.val={val}',
  )


def _write(root: pathlib.Path, split: str, index: int) -> str:
  """Writes an image and its masks; returns its name."""
  rng = embedded.make_rng(split, index)
  image, planes = photograph.draw_fundus(rng)
  name = f'{split}{index:03d}'
  files.write_png(image, root / f'images/{name}.png')
  files.write_png(np.uint8(255) * planes['vessels'], root / f'masks/{name}.png')
  for kind in lesions.KINDS:
    votes = sum(outline(planes[kind], rng) for _ in range(NUM_EXPERTS))
    files.write_png(np.uint8(LEVEL) * votes, root / f'GT/{kind}/{name}.png')
  return name


def outline(plane: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Draws a plane as one expert would: wider or narrower, and not exactly.

  Args:
    plane: bool[H, W].
    rng: gives the expert's habit, and which lesions escape the expert.

  Returns:
    uint8[H, W] of 0 and 1.
  """
  objects, number = ndimage.label(plane, np.ones((3, 3)))
  noticed = np.append(False, rng.random(number) < 0.85)[objects]
  inside = ndimage.distance_transform_edt(noticed)
  outside = ndimage.distance_transform_edt(~noticed)
  shift = ndimage.gaussian_filter(rng.normal(size=plane.shape), 4) * 12
  margin = rng.uniform(-0.5, 2.5)
  is_in = (outside - inside < margin + shift) & (outside < 6)
  return (is_in & noticed.any()).astype(np.uint8)

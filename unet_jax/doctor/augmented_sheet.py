"""Draws a sheet of crops before and after augmentation."""

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax import build
from unet_jax.data import labels, sources
from unet_jax.evaluation import pictures
from unet_jax.nn import augment

NUM_SHOWN = 12


def draw_samples(
  config, dataset: sources.Dataset, count: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
  """Cuts and augments the first samples of a run as the run itself does.

  Args:
    config: of the run.
    dataset: from `sources.load`.
    count: N, the number of samples.

  Returns:
    The batch that the host sends, see build.make_batches; the augmented images,
    float32[N, S, S, C]; and the augmented labels.
  """
  config = config.copy_and_resolve_references()
  config.batch_size = count
  batch = next(build.make_batches(config, dataset))
  rng = jax.random.key(config.seed)
  rngs = augment.sample_rngs(rng, jnp.asarray(batch['index']))
  change = jax.jit(jax.vmap(build.make_augment(config, dataset.stats.limits)))
  image, label = change(rngs, batch['image'], batch['label'])
  return batch, np.asarray(image), np.asarray(label)


def make_sheet(config, dataset: sources.Dataset) -> np.ndarray:
  """Draws pairs of a crop and the augmented crop: uint8[H, W, 3].

  The borders of classes are coloured, and void pixels are grey.
  """
  batch, image, label = draw_samples(config, dataset, NUM_SHOWN)
  limits = dataset.stats.limits
  before_image, after_image = (
    [pictures.to_bytes(x, limits) for x in images]
    for images in (batch['image'], image)
  )
  class_spec = build.make_classes(config, dataset.classes)
  pairs = [
    _beside(_outlined(*before, class_spec), _outlined(*after, class_spec))
    for before, after in zip(
      zip(before_image, batch['label'], strict=True),
      zip(after_image, label, strict=True),
      strict=True,
    )
  ]
  rows = [_beside(*pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
  return pictures.sheet(rows)


def _outlined(
  image: np.ndarray, label: np.ndarray, class_spec: labels.ClassSpec
) -> np.ndarray:
  """Draws a crop uint8[S, S, C] with the outlines of its label [S, S]."""
  planes = class_spec.to_planes(label)
  picture = pictures.overlay(image, planes, strength=0.0)
  picture[labels.is_void(label)] = 128
  return picture


def _beside(*pictures_: np.ndarray) -> np.ndarray:
  """Puts pictures, uint8[H, W, 3], in a row on white, centred vertically."""
  height = max(picture.shape[0] for picture in pictures_)
  columns = []
  for picture in pictures_:
    above = (height - picture.shape[0]) // 2
    below = height - picture.shape[0] - above
    around = ((above, below), (0, pictures.GAP), (0, 0))
    columns.append(np.pad(picture, around, constant_values=255))
  return np.concatenate(columns, axis=1)

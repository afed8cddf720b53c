"""Examples of any size in one buffer, from which a device cuts windows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data import moments


class Packed(NamedTuple):
  """N examples, one after the other, each in row-major order.

  Attributes:
    image: [P, C], the pixels of all images.
    label: uint8[P] or [P, K].
    weight_map: float32[P]; None if no example has one.
    offset: int32[N], the place of each image's first pixel.
    shape: int32[N, 2], height and width.
    own: mean and std, float32[N, C], or {}; see `moments`.
  """

  image: np.ndarray
  label: np.ndarray
  weight_map: np.ndarray | None
  offset: np.ndarray
  shape: np.ndarray
  own: moments.Moments = {}


def pack(examples: Sequence[dict]) -> Packed:
  """Packs examples, of which all or none have a `weight_map`."""
  shape = np.array([x['label'].shape[:2] for x in examples], np.int32)
  sizes = np.prod(shape, axis=1, dtype=np.int64)

  def flat(name: str) -> np.ndarray:
    arrays = [x[name].reshape(-1, *x[name].shape[2:]) for x in examples]
    return np.concatenate(arrays)

  return Packed(
    image=flat('image'),
    label=flat('label'),
    weight_map=flat('weight_map') if 'weight_map' in examples[0] else None,
    offset=(np.cumsum(sizes) - sizes).astype(np.int32),
    shape=shape,
    own={
      key: np.stack([x[key] for x in examples])
      for key in moments.of_example(examples[0])
    },
  )

"""Turns images and labels into the inputs of the model and the loss."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unet_jax.data import codes


class Inputs(NamedTuple):
  """A batch for the model and the loss, in the same form for every task."""

  image: jax.Array  # float32[B, H, W, C], normalised
  target: jax.Array  # float32[B, H, W, K], planes in [0, 1]
  weight: jax.Array  # float32[B, H, W], the pixels' weights; 0 ignores a pixel


def preprocess(
  image: jax.Array,
  label: jax.Array,
  weight_map: jax.Array | None = None,
  *,
  mean: Sequence[float] | jax.Array,
  std: Sequence[float] | jax.Array,
  num_planes: int,
  exclusive: bool,
  soft: bool = False,
) -> Inputs:
  """Normalises images and turns labels into planes and weights.

  Args:
    image: [B, H, W, C] of any type.
    label: uint8[B, H, W], class indices, or uint8[B, H, W, K], planes; 255 is
      void.
    weight_map: float32[B, H, W], weights of the pixels that are not void; None
      for equal weights.
    mean: per-channel mean of the training images, or of each image, float32[B,
      C].
    std: per-channel standard deviation, likewise.
    num_planes: K.
    exclusive: whether labels are class indices, which become one-hot planes.
    soft: whether planes hold probabilities, with 254 for 1.
  """
  target, weight = targets(
    label, num_planes=num_planes, exclusive=exclusive, soft=soft
  )
  inputs = Inputs(normalise(image, mean, std), target, weight)
  if weight_map is None:
    return inputs
  return inputs._replace(weight=inputs.weight * weight_map)


def targets(
  label: jax.Array, *, num_planes: int, exclusive: bool, soft: bool = False
) -> tuple[jax.Array, jax.Array]:
  """Turns labels into planes float32[B, H, W, K] and weights float32[B, H, W].

  Takes arguments of `preprocess`: label uint8[B, H, W] or [B, H, W, K], and so
  on.
  """
  void = label == codes.VOID
  if exclusive:
    target = jax.nn.one_hot(label, num_planes)
  else:
    planes = label if label.ndim == 4 else label[..., None]
    target = (planes == 1).astype(jnp.float32)
    if soft:
      target = jnp.where(planes == codes.VOID, 0.0, planes / codes.CERTAIN)
  if void.ndim == 4:
    void = jnp.any(void, axis=-1)
  return target, 1.0 - void


def normalise(
  image: jax.Array,
  mean: Sequence[float] | jax.Array,
  std: Sequence[float] | jax.Array,
) -> jax.Array:
  """Returns (image - mean) / std, float32[B, H, W, C].

  Over the training set, or in each image, each channel then has mean 0 and
  standard deviation 1. `mean` and `std` have the shape [C] or [B, C].
  """
  shift, scale = (
    jnp.asarray(x, jnp.float32).reshape(-1, 1, 1, image.shape[-1])
    for x in (mean, std)
  )
  return (image.astype(jnp.float32) - shift) / scale

"""Images and labels as they travel -> what the model and the loss take."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unet_jax.data import codes


class Inputs(NamedTuple):
  """A batch for the model: every kind of task looks the same from here on."""

  image: jax.Array  # float32[B, H, W, C], normalised
  target: jax.Array  # float32[B, H, W, K], planes from 0 to 1
  weight: jax.Array  # float32[B, H, W], how much a pixel counts; 0: not


def preprocess(
  image: jax.Array,
  label: jax.Array,
  weight_map: jax.Array | None = None,
  *,
  mean: Sequence[float],
  std: Sequence[float],
  num_planes: int,
  exclusive: bool,
  soft: bool = False,
) -> Inputs:
  """Normalises images and turns labels into planes and weights.

  Args:
    image: uint8 or float32[B, H, W, C] in 0 to 255.
    label: uint8[B, H, W], a class index, or uint8[B, H, W, K]; 255 is void.
    weight_map: float32[B, H, W], how much a pixel counts that isn't void; None
      counts all alike.
    mean: of the training images, a channel.
    std: likewise.
    num_planes: K.
    exclusive: whether the planes are the classes of an index, background
      first.
    soft: whether labels are probabilities, of which 254 means 1.
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
  inputs = Inputs(normalise(image, mean, std), target, 1.0 - void)
  if weight_map is None:
    return inputs
  return inputs._replace(weight=inputs.weight * weight_map)


def normalise(
  image: jax.Array, mean: Sequence[float], std: Sequence[float]
) -> jax.Array:
  """Returns float32[B, H, W, C] with the training set's mean 0 and std 1."""
  shift, scale = (
    jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std)
  )
  return (image.astype(jnp.float32) - shift) / scale

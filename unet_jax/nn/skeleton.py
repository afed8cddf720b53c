"""Centre lines of soft masks, by minima and maxima over neighbours alone."""

import jax
import jax.numpy as jnp


def soft_skeleton(mask: jax.Array, *, radius: int) -> jax.Array:
  """Thins masks to their centre lines, differentiably.

  Algorithm 1 of Shit et al. 2021 (arXiv:2003.07311): what an opening removes of
  the mask, eroded 0 to `radius` times. Each round costs one erosion and one
  dilation.

  Args:
    mask: float32[B, H, W, K] in [0, 1].
    radius: erosions; those beyond half the widest tube change nothing.

  Returns:
    float32[B, H, W, K] in [0, 1].
  """

  def thin(carry, _):
    mask, skeleton = carry
    eroded = _erode(mask)
    ridge = jax.nn.relu(mask - _dilate(eroded))
    # As a union of probabilities, so that no pixel goes above 1.
    skeleton = skeleton + jax.nn.relu(ridge - skeleton * ridge)
    return (eroded, skeleton), None

  carry = (mask, jnp.zeros_like(mask))
  return jax.lax.scan(thin, carry, length=radius + 1)[0][1]


def _erode(mask: jax.Array) -> jax.Array:
  """Takes the minimum over a pixel of [B, H, W, K] and the four beside it."""
  return -jnp.maximum(_widen(-mask, 1), _widen(-mask, 2))


def _dilate(mask: jax.Array) -> jax.Array:
  """Takes the maximum over 3x3 pixels of [B, H, W, K]."""
  return _widen(_widen(mask, 1), 2)


def _widen(mask: jax.Array, axis: int) -> jax.Array:
  """Takes the maximum over a pixel and its two neighbours along an axis.

  An axis is 1 or 2 of [B, H, W, K].
  """
  size = mask.shape[axis]
  pad = [(int(i == axis),) * 2 for i in range(mask.ndim)]
  padded = jnp.pad(mask, pad, constant_values=-jnp.inf)
  before, after = (
    jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2)
  )
  return jnp.maximum(jnp.maximum(before, after), mask)

"""Centre lines of soft masks, from minima and maxima over neighbours."""

import jax
import jax.numpy as jnp


def soft_skeleton(mask: jax.Array, *, radius: int) -> jax.Array:
  """Thins masks to their centre lines, differentiably.

  Algorithm 1 of Shit et al. 2021 (arXiv:2003.07311): the skeleton is the union
  of what an opening removes from the mask after 0 to `radius` erosions. Each
  round costs one erosion and one dilation.

  Args:
    mask: float32[B, H, W, K] in [0, 1].
    radius: number of erosions. More than half the width of the widest tube, in
      pixels, change nothing.

  Returns:
    float32[B, H, W, K] in [0, 1].
  """

  def thin(carry, _):
    mask, skeleton = carry
    eroded = _erode(mask)
    ridge = jax.nn.relu(mask - _dilate(eroded))
    # The union of probabilities, a + b - a b, does not exceed 1.
    skeleton = skeleton + jax.nn.relu(ridge - skeleton * ridge)
    return (eroded, skeleton), None

  carry = (mask, jnp.zeros_like(mask))
  return jax.lax.scan(thin, carry, length=radius + 1)[0][1]


def _erode(mask: jax.Array) -> jax.Array:
  """Takes the minimum over each pixel of [B, H, W, K] and its 4 neighbours."""
  return -jnp.maximum(_widen(-mask, 1), _widen(-mask, 2))


def _dilate(mask: jax.Array) -> jax.Array:
  """Takes the maximum over 3x3 windows of [B, H, W, K]."""
  return _widen(_widen(mask, 1), 2)


def _widen(mask: jax.Array, axis: int) -> jax.Array:
  """Takes the maximum over each pixel and its two neighbours along an axis.

  The axis is 1 or 2 of [B, H, W, K].
  """
  size = mask.shape[axis]
  pad = [(int(i == axis),) * 2 for i in range(mask.ndim)]
  padded = jnp.pad(mask, pad, constant_values=-jnp.inf)
  before, after = (
    jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in (0, 2)
  )
  return jnp.maximum(jnp.maximum(before, after), mask)

"""Collapse: what the model predicts against what is there, and a verdict."""

import jax
import jax.numpy as jnp


def count(
  logits: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  exclusive: bool,
  axis_name: str | None = None,
) -> jax.Array:
  """Counts what a batch shows of each plane; reads nothing the loss doesn't.

  Args:
    logits: float32[B, H, W, K].
    target: float32[B, H, W, K].
    weight: float32[B, H, W], 0 where a pixel doesn't count.
    exclusive: softmax over the planes; else a sigmoid each.
    axis_name: of the devices that share the batch.

  Returns:
    float32[K, 5], of the pixels that count: the share predicted as the plane,
    the share that is of it, the share that is both, the mean of probability
    times target, and the largest probability.
  """
  if exclusive:
    probs = jax.nn.softmax(logits)
    is_largest = logits == jnp.max(logits, -1, keepdims=True)
    predicted = is_largest.astype(jnp.float32)
  else:
    probs = jax.nn.sigmoid(logits)
    predicted = (logits > 0).astype(jnp.float32)
  weight = weight[..., None]
  axis = (0, 1, 2)
  sums = jnp.stack(
    [
      jnp.sum(weight * x, axis)
      for x in (predicted, target, predicted * target, probs * target)
    ],
    axis=-1,
  )
  peak = jnp.max(jnp.where(weight > 0, probs, 0), axis)
  pixels = jnp.sum(weight)
  if axis_name:
    sums, pixels = jax.lax.psum((sums, pixels), axis_name)
    peak = jax.lax.pmax(peak, axis_name)
  return jnp.concatenate(
    [sums / jnp.maximum(pixels, 1), peak[:, None]], axis=-1
  )

"""Losses: predictions, targets and weights -> scalars.

Each is a ratio of sums over the global batch: with `axis_name` the sums are
psum'ed, so that any number of devices means the same.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def soft_dice(
  probs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  smooth: float = 1.0,
  per_image: bool = False,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes 1 - mean((2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)).

  V-Net's Dice (Milletari et al. 2016, arXiv:1606.04797, section 3) without
  squares, and smoothed as in the U-Net tutorials. The sums run over the pixels
  of the batch, or of each image; the mean over planes, or planes and images.

  Args:
    probs: float32[B, H, W, K].
    target: float32[B, H, W, K].
    weight: float32[B, H, W], 0 where a pixel doesn't count.
    smooth: pixels; keeps an empty plane that is predicted empty at loss 0.
    per_image: whether each image has a Dice of its own.
    axis_name: of the devices that share the batch.
  """
  weight = weight[..., None]
  axis = (1, 2) if per_image else (0, 1, 2)
  overlap = jnp.sum(weight * probs * target, axis)  # [B, K] or [K]
  total = jnp.sum(weight * (probs + target), axis)
  if not per_image:
    overlap, total = _psum((overlap, total), axis_name)
    return 1 - jnp.mean((2 * overlap + smooth) / (total + smooth))
  dice = (2 * overlap + smooth) / (total + smooth)
  counted = jnp.any(weight > 0, axis).astype(jnp.float32)  # [B, 1]
  dice, counted = _psum(
    (jnp.sum(counted * dice, 0), jnp.sum(counted, 0)), axis_name
  )
  return 1 - jnp.mean(dice / jnp.maximum(counted, 1))


def cross_entropy(
  logits: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  exclusive: bool,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes the mean of -log p(target) over the pixels that count.

  Args:
    logits: float32[B, H, W, K].
    target: float32[B, H, W, K].
    weight: float32[B, H, W].
    exclusive: softmax over the planes; else a sigmoid each, and their mean.
    axis_name: of the devices that share the batch.
  """
  if exclusive:
    entropy = optax.softmax_cross_entropy(logits, target)
  else:
    entropy = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target), -1)
  total, count = _psum((jnp.sum(weight * entropy), jnp.sum(weight)), axis_name)
  return total / jnp.maximum(count, 1)


def make_loss(
  name: str,
  *,
  exclusive: bool,
  per_image: bool,
  smooth: float,
  has_background: bool = True,
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Builds (logits, target, weight, axis_name) -> the loss and its terms.

  Dice is over the foreground; cross entropy has the background too. That is
  the first plane where classes exclude each other, if `has_background`.
  """
  first = 1 if exclusive and has_background else 0

  def loss_of(logits, target, weight, axis_name=None):
    terms = {}
    if 'dice' in name:
      probs = (jax.nn.softmax if exclusive else jax.nn.sigmoid)(logits)
      terms['dice_loss'] = soft_dice(
        probs[..., first:],
        target[..., first:],
        weight,
        smooth=smooth,
        per_image=per_image,
        axis_name=axis_name,
      )
    if 'ce' in name.split('_'):
      terms['cross_entropy'] = cross_entropy(
        logits, target, weight, exclusive=exclusive, axis_name=axis_name
      )
    return sum(terms.values()), terms

  return loss_of


def _psum(sums, axis_name: str | None):
  return jax.lax.psum(sums, axis_name) if axis_name else sums

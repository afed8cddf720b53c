"""Losses: predictions, targets and weights -> scalars.

Each is a ratio of sums over the global batch: with `axis_name` the sums are
psum'ed, so that any number of devices means the same. Throughout

  probs, logits: float32[B, H, W, K].
  target: float32[B, H, W, K] in [0, 1]; between them it is a soft label.
  weight: float32[B, H, W] from 0, where a pixel doesn't count.
  per_image: whether each image has a ratio of its own, averaged over those in
    which a pixel counts; else the batch has one, as a single large image.
  axis_name: of the devices that share the batch; None on one device.

and a batch in which nothing counts gives no gradient.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.nn import skeleton


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
  squares, and smoothed as in the U-Net tutorials: `smooth` pixels keep an empty
  plane that is predicted empty at loss 0. The mean is over planes (and images).
  """
  overlap, total = _sums(
    (probs * target, probs + target), weight, per_image, axis_name
  )
  loss = 1 - (2 * overlap + smooth) / (total + smooth)
  return _mean(loss, weight, per_image, axis_name)


def negative_dice(
  probs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  smooth: float = 1.0,
  per_image: bool = False,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes -(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), over planes.

  The loss of the tutorial (S. Roychowdhury, U-net for multi-class semantic
  segmentation, `dice_coef_loss`; there smooth=1 and each image has its own).
  Unlike `soft_dice` it takes all planes as one, so that a rare one hardly
  counts, and falls to -1.
  """
  overlap, total = (
    jnp.sum(sums, axis=-1, keepdims=True)
    for sums in _sums(
      (probs * target, probs + target), weight, per_image, axis_name
    )
  )
  loss = -(2 * overlap + smooth) / (total + smooth)
  return _mean(loss, weight, per_image, axis_name)


def generalised_dice(
  probs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  per_image: bool = False,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes 1 - 2 sum_k(c sum(p t)) / sum_k(c (sum(p) + sum(t))).

  c = 1 / sum(t)^2 (Sudre et al. 2017, arXiv:1707.03237), so that a plane counts
  by what share of it is found and not by its size. A plane that no target has
  gets c = 0, where others have an infinite one: it adds nothing.
  """
  overlap, total, size = _sums(
    (probs * target, probs + target, target), weight, per_image, axis_name
  )
  # As (smallest / size)^2, the same up to a factor, nothing can overflow.
  present = size > 0
  smallest = jnp.min(jnp.where(present, size, jnp.inf), -1, keepdims=True)
  share = jnp.where(
    present, jnp.square(smallest / jnp.where(present, size, 1)), 0
  )
  overlap, total = (
    jnp.sum(share * sums, axis=-1, keepdims=True) for sums in (overlap, total)
  )
  loss = jnp.where(total > 0, 1 - 2 * _ratio(overlap, total), 0)
  return _mean(loss, weight, per_image, axis_name)


def tversky(
  probs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  beta: float = 0.7,
  gamma: float = 1.0,
  smooth: float = 1.0,
  per_image: bool = False,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes mean((1 - tp / (tp + (1 - beta) fp + beta fn))^(1 / gamma)).

  tp = sum(p t), fp = sum(p (1 - t)), fn = sum((1 - p) t), and `smooth` is added
  to both parts (Salehi et al. 2017, arXiv:1706.05721): with beta above 1/2 a
  missed pixel costs more than one too many. gamma above 1 makes it the focal
  Tversky loss (Abraham and Khan 2018, arXiv:1810.07842: 4/3), whose slope grows
  as a plane gets better. The mean is over planes (and images).
  """
  found, predicted, size = _sums(
    (probs * target, probs, target), weight, per_image, axis_name
  )
  false = (1 - beta) * (predicted - found) + beta * (size - found)
  loss = false / (found + false + smooth)
  if gamma != 1:
    loss = jnp.maximum(loss, 1e-7) ** (1 / gamma)  # At 0 it is too steep.
  return _mean(loss, weight, per_image, axis_name)


def centerline_dice(
  probs: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  radius: int = 5,
  smooth: float = 1.0,
  per_image: bool = False,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes clDice: 1 - the harmonic mean of how far centre lines are covered.

  Shit et al. 2021, arXiv:2003.07311, for vessels and other tubes, half the
  widest of which is `radius` pixels: the share of the prediction's skeleton
  that lies in the target, and of the target's in the prediction, both smoothed.
  It says little of a tube's width; add it to another loss.
  """
  counted = (weight > 0)[..., None]
  probs, target = (jnp.where(counted, x, 0) for x in (probs, target))
  line, line_target = (
    skeleton.soft_skeleton(x, radius=radius) for x in (probs, target)
  )
  hit, length, hit_target, length_target = _sums(
    (line * target, line, line_target * probs, line_target),
    weight,
    per_image,
    axis_name,
  )
  precision = (hit + smooth) / (length + smooth)
  recall = (hit_target + smooth) / (length_target + smooth)
  loss = 1 - 2 * precision * recall / (precision + recall)
  return _mean(loss, weight, per_image, axis_name)


def cross_entropy(
  logits: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  exclusive: bool,
  gamma: float = 0.0,
  class_weights: jax.Array | np.ndarray | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes the mean of -(1 - p)^gamma log p, p being that of the target.

  Cross entropy with gamma = 0, else the focal loss (Lin et al. 2017,
  arXiv:1708.02002, equations 4 and 5, and their alpha as class weights). The
  mean is over pixels, and over planes that don't exclude each other, and
  weighted by the pixels' and classes' weights, as in PyTorch's cross entropy.

  Args:
    logits: as target and weight, see the module.
    exclusive: softmax over the planes; else a sigmoid each.
    gamma: how much less a pixel counts the better it is predicted.
    class_weights: float32[1 or 2, K], of a plane where the target has it and,
      unless exclusive, where not; None weighs all alike.
  """
  if exclusive:
    sides = [(target, jax.nn.log_softmax(logits))]
  else:
    sides = [
      (target, jax.nn.log_sigmoid(logits)),
      (1 - target, jax.nn.log_sigmoid(-logits)),
    ]
  total: jax.Array | float = 0.0
  count: jax.Array | float = 0.0
  for i, (share, log_p) in enumerate(sides):
    share = weight[..., None] * share
    if class_weights is not None:
      share = share * class_weights[i][None, None, None]
    count += jnp.sum(share)
    if gamma:
      # A power below 1 has an infinite slope at 0.
      share = share * jnp.maximum(-jnp.expm1(log_p), 1e-7) ** gamma
    total -= jnp.sum(share * log_p)
  return _ratio(*_psum((total, count), axis_name))


def _sums(
  planes: Iterable[jax.Array],
  weight: jax.Array,
  per_image: bool,
  axis_name: str | None,
) -> list[jax.Array]:
  """Sums each over pixels: [B, K] of images, or [1, K] of the whole batch."""
  weight = weight[..., None]
  if per_image:
    return [jnp.sum(weight * x, (1, 2)) for x in planes]
  return _psum(
    [jnp.sum(weight * x, (0, 1, 2))[None] for x in planes], axis_name
  )


def _mean(
  loss: jax.Array, weight: jax.Array, per_image: bool, axis_name: str | None
) -> jax.Array:
  """Averages [B, K] or [1, K] over planes, and over images that count."""
  if not per_image:
    return jnp.mean(loss)
  counted = jnp.any(weight > 0, (1, 2)).astype(jnp.float32)
  total = jnp.sum(counted * jnp.mean(loss, -1))
  return _ratio(*_psum((total, jnp.sum(counted)), axis_name))


def _ratio(total: jax.Array, count: jax.Array) -> jax.Array:
  """Divides where the count is positive; else it gives 0."""
  some = count > 0
  return jnp.where(some, total / jnp.where(some, count, 1), 0)


def _psum(sums: Any, axis_name: str | None) -> Any:
  return jax.lax.psum(sums, axis_name) if axis_name else sums

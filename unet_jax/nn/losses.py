"""Losses: predictions, targets and weights -> scalars.

Each loss is a ratio of sums over the global batch: with `axis_name` the sums
are psum'ed, so the loss does not depend on the number of devices. Arguments
mean the same in all functions, each of which returns float32[]:

  probs, logits: float32[B, H, W, K].
  target: float32[B, H, W, K] in [0, 1]; values between 0 and 1 are soft labels.
  weight: float32[B, H, W], at least 0; 0 ignores the pixel.
  per_image: whether to compute the ratio for each image and average over the
    images that have a pixel of positive weight. If not, the batch is treated as
    one large image.
  axis_name: mapped axis of the devices that share the batch; None for one.

A batch in which all weights are 0 gives no gradient.
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

  The sums are over pixels, the mean over planes (and images). This is V-Net's
  Dice (Milletari et al. 2016, arXiv:1606.04797, section 3) without squares,
  smoothed as in the U-Net tutorials: with `smooth`, in pixels, an empty plane
  that is predicted empty has loss 0.
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
  """Computes -(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth).

  The sums are over pixels and planes. This is the tutorial's loss
  (S. Roychowdhury, U-net for multi-class semantic segmentation,
  `dice_coef_loss`, with smooth=1 and per_image=True). Unlike `soft_dice` it
  pools all planes, so a rare class hardly counts, and its minimum is -1.
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

  c = 1 / sum(t)^2 (Sudre et al. 2017, arXiv:1707.03237), so a plane counts by
  the share of it that is predicted, not by its size. A plane without target
  pixels gets c = 0 and adds nothing; by the formula c would be infinite.
  """
  overlap, total, size = _sums(
    (probs * target, probs + target, target), weight, per_image, axis_name
  )
  # c is scaled to (smallest / size)^2, which can't overflow; the ratio stays.
  present = size > 0
  smallest = jnp.min(jnp.where(present, size, jnp.inf), -1, keepdims=True)
  c = jnp.where(present, jnp.square(smallest / jnp.where(present, size, 1)), 0)
  overlap, total = (
    jnp.sum(c * sums, axis=-1, keepdims=True) for sums in (overlap, total)
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
  to numerator and denominator (Salehi et al. 2017, arXiv:1706.05721). With beta
  above 1/2 a false negative costs more than a false positive. gamma above 1
  gives the focal Tversky loss (Abraham and Khan 2018, arXiv:1810.07842: 4/3),
  whose slope grows as a plane improves. The mean is over planes (and images).
  """
  tp, predicted, size = _sums(
    (probs * target, probs, target), weight, per_image, axis_name
  )
  errors = (1 - beta) * (predicted - tp) + beta * (size - tp)
  loss = errors / (tp + errors + smooth)
  if gamma != 1:
    loss = jnp.maximum(loss, 1e-7) ** (1 / gamma)  # The slope at 0 is infinite.
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
  """Computes clDice, 1 - 2 precision recall / (precision + recall).

  Shit et al. 2021, arXiv:2003.07311, for vessels and other tubes. Precision is
  the share of the prediction's skeleton that lies in the target, recall the
  share of the target's skeleton that lies in the prediction, both smoothed.
  `radius` is half the width of the widest tube, in pixels. The loss hardly
  depends on a tube's width, so add it to another loss.
  """
  counts = (weight > 0)[..., None]  # Skeletons must not see ignored pixels.
  probs, target = (jnp.where(counts, x, 0) for x in (probs, target))
  line, line_target = (
    skeleton.soft_skeleton(x, radius=radius) for x in (probs, target)
  )
  covered, length, covered_target, length_target = _sums(
    (line * target, line, line_target * probs, line_target),
    weight,
    per_image,
    axis_name,
  )
  precision = (covered + smooth) / (length + smooth)
  recall = (covered_target + smooth) / (length_target + smooth)
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
  """Computes the mean of -(1 - p)^gamma log p, p the probability of the target.

  gamma = 0 gives cross entropy, gamma > 0 the focal loss (Lin et al. 2017,
  arXiv:1708.02002, equations 4 and 5, with their alpha as class weights). The
  mean is over pixels and, unless exclusive, over planes. It is weighted by the
  pixels' and classes' weights, as in PyTorch's cross entropy.

  Args:
    logits: float32[B, H, W, K].
    target: float32[B, H, W, K] in [0, 1].
    weight: float32[B, H, W], at least 0.
    exclusive: whether to use one softmax over the planes, not a sigmoid each.
    gamma: focusing parameter; a larger one reduces the weight of pixels that
      are predicted well.
    class_weights: float32[1 or 2, K]. Row 0 weighs pixels whose target is the
      plane; row 1, unless exclusive, those whose target is not. None for equal
      weights.
    axis_name: mapped axis of the devices that share the batch.
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
      # The maximum: a power below 1 has an infinite slope at 0.
      share = share * jnp.maximum(-jnp.expm1(log_p), 1e-7) ** gamma
    total -= jnp.sum(share * log_p)
  return _ratio(*_psum((total, count), axis_name))


def _sums(
  planes: Iterable[jax.Array],
  weight: jax.Array,
  per_image: bool,
  axis_name: str | None,
) -> list[jax.Array]:
  """Sums over pixels: [B, K] for each image, or [1, K] for the whole batch."""
  weight = weight[..., None]
  if per_image:
    return [jnp.sum(weight * x, (1, 2)) for x in planes]
  return _psum(
    [jnp.sum(weight * x, (0, 1, 2))[None] for x in planes], axis_name
  )


def _mean(
  loss: jax.Array, weight: jax.Array, per_image: bool, axis_name: str | None
) -> jax.Array:
  """Averages [B, K] or [1, K] over planes, and over images of some weight."""
  if not per_image:
    return jnp.mean(loss)
  counts = jnp.any(weight > 0, (1, 2)).astype(jnp.float32)
  total = jnp.sum(counts * jnp.mean(loss, -1))
  return _ratio(*_psum((total, jnp.sum(counts)), axis_name))


def _ratio(total: jax.Array, count: jax.Array) -> jax.Array:
  """Returns total / count where the count is positive, 0 elsewhere.

  The inner `where` keeps the gradient free of NaN.
  """
  positive = count > 0
  return jnp.where(positive, total / jnp.where(positive, count, 1), 0)


def _psum(sums: Any, axis_name: str | None) -> Any:
  return jax.lax.psum(sums, axis_name) if axis_name else sums

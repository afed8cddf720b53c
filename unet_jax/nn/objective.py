"""The training objective: a weighted sum of losses, with class weights."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from unet_jax.nn import losses


def balance(
  pixels: Sequence[Sequence[int]], *, exclusive: bool, by: str
) -> np.ndarray | None:
  """Returns class weights that make rare classes count more.

  Args:
    pixels: for each plane three pixel counts of the training labels: pixels of
      the plane, pixels of the images in which the plane occurs, all pixels.
    exclusive: whether each pixel has exactly one plane. If not, a plane is
      balanced against its own complement.
    by: 'none'; 'inverse': inverse frequency, which gives all classes the same
      total weight; or 'median': median frequency divided by the class'
      frequency, where frequencies are taken over the images in which the class
      occurs (Eigen and Fergus 2015, arXiv:1411.4734).

  Returns:
    float32[1 or 2, K], the `class_weights` of `losses.cross_entropy`. A class
    without pixels has weight 0. None for 'none'.
  """
  if by == 'none':
    return None
  own, in_its_images, in_all = np.asarray(pixels, np.float64).T
  share = own / np.maximum(in_all if by == 'inverse' else in_its_images, 1)
  # Axis 0 is over the classes that exclude each other: [K, 1] or [2, K].
  shares = share[:, None] if exclusive else np.stack([share, 1 - share])
  present = np.ma.masked_equal(shares, 0)
  if by == 'inverse':
    weights = 1 / (present.count(axis=0) * present)
  else:
    weights = np.ma.median(present, axis=0) / present
  filled = np.ma.filled(weights, 0).astype(np.float32)
  return filled.T if exclusive else filled


def make_loss(
  *,
  exclusive: bool,
  has_background: bool = True,
  pixels: Sequence[Sequence[int]] = (),
  per_image: bool,
  background: bool,
  smooth: float,
  tversky_beta: float,
  tversky_gamma: float,
  cldice_radius: int,
  focal_gamma: float,
  class_weights: str,
  **weights: float,
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Makes the loss function loss_of(logits, target, weight, axis_name=None).

  The function takes logits and target, float32[B, H, W, K], and weight,
  float32[B, H, W]; see `losses`. It returns the weighted sum of the terms,
  float32[], and the terms without their weights, {'dice_loss': float32[], ...}.
  Cross entropy, focal loss and the negative Dice use all planes; the other
  terms use the foreground planes only, unless `background` is set.

  Args:
    exclusive: whether planes go through one softmax, not a sigmoid each.
    has_background: whether the first of exclusive planes is the background.
    pixels: see `balance`; needed unless class_weights is 'none'.
    per_image, background, smooth, tversky_beta, tversky_gamma, cldice_radius,
      focal_gamma, class_weights: the keys of config.loss; see docs/config.md.
    **weights: weight of each term by its name, such as `dice`. A term of weight
      0 is not computed.

  Raises:
    KeyError: raised by the returned function if a term does not exist.
  """
  first = 1 if exclusive and has_background and not background else 0
  balanced = balance(pixels, exclusive=exclusive, by=class_weights)

  def loss_of(logits, target, weight, axis_name=None):
    probs = (jax.nn.softmax if exclusive else jax.nn.sigmoid)(logits)
    all_planes = (probs, target, weight)
    chosen = (probs[..., first:], target[..., first:], weight)
    scope = dict(per_image=per_image, axis_name=axis_name)
    entropy = functools.partial(
      losses.cross_entropy,
      *(logits, target, weight),
      exclusive=exclusive,
      class_weights=balanced,
      axis_name=axis_name,
    )
    terms: dict[str, Callable[[], jax.Array]] = {
      'dice': lambda: losses.soft_dice(*chosen, smooth=smooth, **scope),
      'negative_dice': lambda: losses.negative_dice(
        *all_planes, smooth=smooth, **scope
      ),
      'generalised_dice': lambda: losses.generalised_dice(*chosen, **scope),
      'tversky': lambda: losses.tversky(
        *chosen,
        beta=tversky_beta,
        gamma=tversky_gamma,
        smooth=smooth,
        **scope,
      ),
      'cldice': lambda: losses.centerline_dice(
        *chosen, radius=cldice_radius, smooth=smooth, **scope
      ),
      'ce': entropy,
      'focal': lambda: entropy(gamma=focal_gamma),
    }
    values = {name: terms[name]() for name, scale in weights.items() if scale}
    total = sum(weights[name] * value for name, value in values.items())
    return total, {f'{name}_loss': value for name, value in values.items()}

  return loss_of

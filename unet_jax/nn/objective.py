"""What training minimises: a weighted sum of losses, with class weights."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from unet_jax.nn import losses


def balance(
  pixels: Sequence[Sequence[int]], *, exclusive: bool, by: str
) -> np.ndarray | None:
  """Returns class weights by which rare classes count more.

  Args:
    pixels: of the training labels, for each plane: how many it has, how many
      the images have in which it occurs, and how many there are.
    exclusive: as `cross_entropy` takes it. If not, a plane is balanced against
      its own complement.
    by: `none`; `inverse` frequency, which gives every class the same total; or
      `median` frequency over a class' own, each counted in the images that have
      it (Eigen and Fergus 2015, arXiv:1411.4734).

  Returns:
    What `losses.cross_entropy` takes; a class without pixels has weight 0.
  """
  if by == 'none':
    return None
  own, nearby, everywhere = np.asarray(pixels, np.float64).T
  share = own / np.maximum(everywhere if by == 'inverse' else nearby, 1)
  # Shares of the classes among which a pixel chooses: [K, 1] or [2, K].
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
  """Makes a function of logits, target, weight and axis_name.

  The function takes logits and target, float32[B, H, W, K], and weight,
  float32[B, H, W], as `losses` take them, and returns the weighted sum of the
  terms, float32[], and {'dice_loss': float32[], ...}, the terms without their
  weights. Cross entropy, focal loss and the negative Dice are over all planes;
  the other terms are over the foreground unless `background` is set.

  Args:
    exclusive: whether planes go through one softmax, not a sigmoid each.
    has_background: whether the first of exclusive planes is the background.
    pixels: as `balance` takes them; needed where there are class weights.
    per_image, background, smooth, tversky_beta, tversky_gamma, cldice_radius,
      focal_gamma, class_weights: as config.loss has them; see docs/config.md.
    **weights: weight of each term by its name, such as `dice`. A term of weight
      0 is not computed.

  Raises:
    KeyError: in the function, if there is no such term.
  """
  first = 1 if exclusive and has_background and not background else 0
  balanced = balance(pixels, exclusive=exclusive, by=class_weights)

  def loss_of(logits, target, weight, axis_name=None):
    probs = (jax.nn.softmax if exclusive else jax.nn.sigmoid)(logits)
    every = (probs, target, weight)
    some = (probs[..., first:], target[..., first:], weight)
    scope = dict(per_image=per_image, axis_name=axis_name)
    entropy = functools.partial(
      losses.cross_entropy,
      *(logits, target, weight),
      exclusive=exclusive,
      class_weights=balanced,
      axis_name=axis_name,
    )
    terms: dict[str, Callable[[], jax.Array]] = {
      'dice': lambda: losses.soft_dice(*some, smooth=smooth, **scope),
      'negative_dice': lambda: losses.negative_dice(
        *every, smooth=smooth, **scope
      ),
      'generalised_dice': lambda: losses.generalised_dice(*some, **scope),
      'tversky': lambda: losses.tversky(
        *some, beta=tversky_beta, gamma=tversky_gamma, smooth=smooth, **scope
      ),
      'cldice': lambda: losses.centerline_dice(
        *some, radius=cldice_radius, smooth=smooth, **scope
      ),
      'ce': entropy,
      'focal': lambda: entropy(gamma=focal_gamma),
    }
    values = {name: terms[name]() for name, share in weights.items() if share}
    total = sum(weights[name] * value for name, value in values.items())
    return total, {f'{name}_loss': value for name, value in values.items()}

  return loss_of

"""Collapse: what the model predicts against what is there, and a verdict."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

WARM_UP = 20  # Steps before the first that is looked at.
WINDOW = 30  # Steps that are judged together.
MISSED = 0.01  # Recall under which a class counts as missed.
PATIENCE = 150  # Steps.

LEARNING = 'learning'
DEAD = 'dead class'
COLLAPSE = 'background collapse'
FLOOD = 'foreground flood'

# What each may come of, and what to do.
REMEDIES = {
  DEAD: 'it is rare, looks like another class, or the steps are too large: '
  'have config.loss.ce=1 with config.loss.class_weights=inverse, lower '
  'config.optim.lr, or merge it with the class it looks like '
  '(config.data.merge)',
  COLLAPSE: 'background is the easy answer where foreground is rare or the '
  'steps are too large: lower config.optim.lr, have config.loss.ce=1 with '
  'config.loss.class_weights=inverse, and see with unet_jax.doctor that the '
  'masks are right',
  FLOOD: 'foreground everywhere comes of too large steps or of swapped masks: '
  'lower config.optim.lr, and see with unet_jax.doctor which '
  'value of the masks is the background',
}


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
    float32[K, 6], of the pixels that count: the share predicted as the plane,
    the share that is of it, the share that is both, the mean probability, the
    mean of probability times target, and the largest probability.
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
      for x in (predicted, target, predicted * target, probs, probs * target)
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


def judge(
  planes: np.ndarray, silent: Sequence[int], before: Sequence[str]
) -> list[str]:
  """Says of each foreground class whether it is being learnt.

  A class is dead while it occurs, hardly any of its pixels are predicted as it,
  and its probability there is either nothing or no higher than elsewhere, and
  isn't growing; or while its pixels were missed for PATIENCE steps, whatever
  the probability. It floods while most pixels are predicted as it, which says
  nothing of where it is, and they don't get fewer. A healthy run too may miss
  a rare class for its first hundred steps, but knows its pixels from others.

  Args:
    planes: float[N, K, 6] of N steps and K foreground classes, from `count`.
    silent: steps in a row, up to now, in which each was missed.
    before: the state that each had.

  Returns:
    LEARNING, DEAD or FLOOD of each; COLLAPSE where all that occur are dead.
  """
  predicted, true, hit, mass, soft, _ = np.moveaxis(planes.mean(axis=0), -1, 0)
  early, late = (half.mean(axis=0) for half in np.array_split(planes, 2))
  # To be called well again takes twice as much, lest it be said back and forth.
  was_dead = np.array([state in (DEAD, COLLAPSE) for state in before])
  is_missed = (true > 0) & (hit < (1 + was_dead) * MISSED * true)
  is_blind = (soft < 1.2 * true * mass) | (soft < 0.01 * true)
  # From next to nothing any growth is large, and leads nowhere soon.
  is_growing = late[:, 4] > np.maximum(1.1 * early[:, 4], 1e-3 * true)
  is_dead = is_missed & (
    was_dead | (is_blind & ~is_growing) | (np.array(silent) >= PATIENCE)
  )
  is_flood = (
    (predicted > np.maximum(0.8, 2 * true))
    & (hit < 1.2 * true * predicted)
    & (late[:, 0] > 0.95 * early[:, 0])
  )
  dead = COLLAPSE if is_dead[true > 0].all() else DEAD
  return [
    dead if dies else FLOOD if floods else LEARNING
    for dies, floods in zip(is_dead, is_flood, strict=True)
  ]


def explain(state: str, name: str, planes: np.ndarray) -> str:
  """Says a class's new state in a line.

  Args:
    state: as `judge` gives it.
    name: of the class.
    planes: float[N, 6] of the class in the last N steps.
  """
  predicted, true, hit, *_ = planes.mean(axis=0)
  return (
    f'{state}: in the last {len(planes)} steps {true:.2%} of the pixels are '
    f'{name}, {predicted:.2%} are predicted so (recall '
    f'{hit / max(true, 1e-12):.2%}, largest probability '
    f'{planes[:, 5].max():.3f})'
  )

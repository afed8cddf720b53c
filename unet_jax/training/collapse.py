"""Collapse: what the model predicts against what is there, and a verdict."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

WARM_UP = 20  # Steps before the first that is looked at.
WINDOW = 30  # Steps that are judged together.

LEARNING = 'learning'
DEAD = 'dead class'
COLLAPSE = 'background collapse'
FLOOD = 'foreground flood'

REMEDIES = {
  DEAD: 'it is rare, or looks like another class: give it more of the crops, '
  'use the loss dice_ce, or merge it with that class',
  COLLAPSE: 'background is the easy answer where foreground is rare: use the '
  'loss dice or dice_ce, lower config.optim.lr, and see that the masks are '
  'right',
  FLOOD: 'foreground everywhere: lower config.optim.lr, and see that '
  'foreground and background of the masks are not swapped',
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


def judge(planes: np.ndarray, before: Sequence[str]) -> list[str]:
  """Says of each foreground class whether it is being learnt.

  A class is dead while it occurs, but hardly any of its pixels are predicted as
  it, they have no more of its probability than guessing by its share would
  give, and that probability isn't growing. It floods while most pixels are
  predicted as it, which says nothing of where it is, and they don't get fewer.
  Early in a healthy run either may look so for a while, but for the trend.

  Args:
    planes: float[N, K, 5] of N steps and K foreground classes, from `count`.
    before: of each class, the state it had.

  Returns:
    LEARNING, DEAD or FLOOD of each; COLLAPSE where all that occur are dead.
  """
  predicted, true, hit, soft, _ = np.moveaxis(planes.mean(axis=0), -1, 0)
  early, late = (half.mean(axis=0) for half in np.array_split(planes, 2))
  occurs = true > 0
  true = np.maximum(true, 1e-12)
  recall, chance = hit / true, soft / true
  # Twice the least, to be called well again: nothing is said back and forth.
  least = np.where([state == LEARNING for state in before], 0.01, 0.02)
  is_dead = (
    occurs
    & (recall < least)
    & (chance < np.maximum(2 * true, 0.01))
    & (late[:, 3] <= 1.1 * early[:, 3])
  )
  is_flood = (
    (predicted > np.maximum(0.8, 2 * true))
    & (hit < 1.2 * true * predicted)
    & (late[:, 0] >= 0.95 * early[:, 0])
  )
  dead = COLLAPSE if is_dead[occurs].all() else DEAD
  return [
    dead if dies else FLOOD if floods else LEARNING
    for dies, floods in zip(is_dead, is_flood, strict=True)
  ]


def explain(state: str, name: str, planes: np.ndarray) -> str:
  """Says a change of state in a line, with its likely cause and remedy.

  Args:
    state: the new one.
    name: of the class.
    planes: float[N, 5] of the class in the last N steps.
  """
  predicted, true, hit, _, _ = planes.mean(axis=0)
  recall = hit / max(true, 1e-12)
  text = (
    f'{state}: {name} is predicted in {predicted:.2%} of the pixels of the last '
    f'{len(planes)} steps and is {true:.2%} of them (recall {recall:.2%}, '
    f'largest probability {planes[:, 4].max():.3f})'
  )
  return f'{text}; {REMEDIES[state]}' if state in REMEDIES else text

"""Detects collapse: compares predictions with the ground truth, by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WARM_UP = 20  # Number of first steps that are not judged.
WINDOW = 30  # Number of steps that are judged together.
MISSED = 0.01  # A class with a smaller recall counts as missed.
PATIENCE = 150  # A class that is missed for this many steps is dead.

LEARNING = 'learning'
DEAD = 'dead class'
COLLAPSE = 'background collapse'
FLOOD = 'foreground flood'

# State -> its likely causes, and what to do; see `remedy`.
REMEDIES = {
  DEAD: 'the class is rare, looks like another class, or the learning rate is '
  'too high: {loss}lower config.optim.lr, or merge the class with the one it '
  'looks like (config.data.masks.merge)',
  COLLAPSE: 'the foreground is rare, or the learning rate is too high: lower '
  'config.optim.lr, {loss}and check the masks with unet_jax.doctor',
  FLOOD: 'the learning rate is too high, or the masks are inverted: lower '
  'config.optim.lr, and check with unet_jax.doctor which value of the masks is '
  'the background',
}


def remedy(state: str, loss: Mapping[str, Any]) -> str:
  """Returns the likely causes of a state, and what to do.

  Args:
    state: a key of REMEDIES.
    loss: config.loss of the run; what it has already is not advised.
  """
  settings = []
  if not loss.get('ce'):
    settings.append('config.loss.ce=1')
  if loss.get('class_weights', 'none') == 'none':
    settings.append('config.loss.class_weights=inverse')
  advice = f'set {" and ".join(settings)}, ' if settings else ''
  return REMEDIES[state].format(loss=advice)


def count(
  logits: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  *,
  exclusive: bool,
  axis_name: str | None = None,
) -> jax.Array:
  """Computes statistics of each plane over a batch.

  Args:
    logits: float32[B, H, W, K].
    target: float32[B, H, W, K].
    weight: float32[B, H, W], 0 where a pixel doesn't count.
    exclusive: whether a softmax over the planes gives the probabilities; if
      not, a sigmoid of each plane does.
    axis_name: axis of the devices that share the batch.

  Returns:
    float32[K, 6], for each plane, over the pixels that count: the share
    predicted as the plane, the share of its ground truth, the share of true
    positives, the mean probability, the mean of probability times target, and
    the largest probability.
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
  planes: np.ndarray, missed_steps: Sequence[int], before: Sequence[str]
) -> list[str]:
  """Judges whether each foreground class is being learnt.

  A class is missed if it occurs, but its recall is near 0. A missed class is
  dead if its probability on its own pixels is near 0 or no higher than
  elsewhere, and isn't growing; or if the class was missed for PATIENCE steps,
  whatever its probability. In its first hundred steps a healthy run may miss a
  rare class too, but gives the class a higher probability on its own pixels. A
  class floods if most pixels are predicted as that class, regardless of the
  ground truth, and their number doesn't fall.

  Args:
    planes: float[N, K, 6] of N steps and K foreground classes, from `count`.
    missed_steps: for each class, the current streak of steps that missed it.
    before: the last state of each class.

  Returns:
    LEARNING, DEAD or FLOOD for each class; COLLAPSE instead of DEAD if every
    class that occurs is dead.
  """
  predicted, true, hit, mass, soft, _ = np.moveaxis(planes.mean(axis=0), -1, 0)
  early, late = (half.mean(axis=0) for half in np.array_split(planes, 2))
  # Hysteresis: recovery needs twice the recall, so states don't flicker.
  was_dead = np.array([state in (DEAD, COLLAPSE) for state in before])
  is_missed = (true > 0) & (hit < (1 + was_dead) * MISSED * true)
  is_blind = (soft < 1.2 * true * mass) | (soft < 0.01 * true)
  # The lower bound ignores growth from near 0, which is relatively large.
  is_growing = late[:, 4] > np.maximum(1.1 * early[:, 4], 1e-3 * true)
  is_dead = is_missed & (
    was_dead | (is_blind & ~is_growing) | (np.array(missed_steps) >= PATIENCE)
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
  """Describes the new state of a class in one line.

  Args:
    state: the state, from `judge`.
    name: name of the class.
    planes: float[N, 6] of the class in the last N steps, from `count`.
  """
  predicted, true, hit, *_ = planes.mean(axis=0)
  return (
    f'{state}: in the last {len(planes)} steps {true:.2%} of the pixels are '
    f'{name}, {predicted:.2%} are predicted as {name} (recall '
    f'{hit / max(true, 1e-12):.2%}, largest probability '
    f'{planes[:, 5].max():.3f})'
  )

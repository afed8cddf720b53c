"""Averages of probabilities: over flips, turns and scales, and over weights.

Each window is shown to the network in several views, and the probabilities of
the views, turned back, are averaged; so are those of an image in several sizes.
The result is given as logits, so that what follows does not differ from a
single network's.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from unet_jax import errors, parallel

# View k % 4 quarter turns the window, after a mirror if k is 4 or more.
VIEWS = {'flips': (0, 2, 4, 6), 'turns': (0, 1, 2, 3)}
SCALES = {'scales': (0.75, 1.0, 1.25)}  # Of the image, not of a window.
NUM_VIEWS = 8  # The symmetries of a square: all flips with all turns.


def views_of(augment: Sequence[str]) -> tuple[int, ...]:
  """Returns the views of the augmentations together; without any, the image.

  Raises:
    InputError: if there is no such augmentation.
  """
  unknown = [name for name in augment if name not in {*VIEWS, *SCALES}]
  if unknown:
    raise errors.InputError(
      f'augment has {unknown[0]!r}; give a list of {", ".join(VIEWS | SCALES)}'
    )
  chosen = [name for name in VIEWS if name in augment]
  if len(chosen) == len(VIEWS):
    return tuple(range(NUM_VIEWS))
  return VIEWS[chosen[0]] if chosen else (0,)


def average(
  networks: Sequence[Callable], views: Sequence[int], *, exclusive: bool
) -> Callable:
  """Returns a network that averages probabilities over networks and views.

  Args:
    networks: (weights, {'image': [B, S, S, C]}) -> logits float32[B, S, S,
      K], as the `logits` of a Predictor.
    views: from `views_of`.
    exclusive: whether the probabilities are the softmax over the planes.

  Returns:
    A network whose variables are the weights of each of these, see
    predictor.weigh. Its logits are of the mean probabilities: log p for
    softmax, else log p - log(1 - p).
  """
  turn = parallel.map_batches(_turn_batch)
  add = parallel.map_batches(functools.partial(_add, exclusive=exclusive))
  finish = parallel.map_batches(functools.partial(_finish, exclusive=exclusive))

  def logits(weights: tuple, batch: dict[str, jax.Array]) -> jax.Array:
    members, *_ = weights
    total = None
    for view in map(np.int32, views):
      turned = turn(view, batch)
      for network, own in zip(networks, members, strict=True):
        parts = dict(logits=network(own, turned), total=total)
        total = add(view, parts)
    return finish(None, total)

  return logits


def mean(parts: Sequence[np.ndarray], *, exclusive: bool) -> np.ndarray:
  """Returns the logits of the mean probabilities, as those of `average`.

  Args:
    parts: logits float32[H, W, K] each.
    exclusive: see `average`.
  """
  logits = np.stack(parts)
  if exclusive:
    log_p = special.log_softmax(logits, axis=-1)
    return special.logsumexp(log_p, axis=0) - np.float32(np.log(len(parts)))
  log_p, log_rest = (
    special.logsumexp(-np.logaddexp(0, -x), axis=0) for x in (logits, -logits)
  )
  return log_p - log_rest


def _turn(x: jax.Array, view: int) -> jax.Array:
  """Shows [B, S, S, ...] in a view."""
  mirrored = x[:, :, ::-1] if view >= 4 else x
  return jnp.rot90(mirrored, view % 4, axes=(1, 2))


def _turn_back(x: jax.Array, view: int) -> jax.Array:
  """Undoes `_turn`."""
  mirrored = jnp.rot90(x, -(view % 4), axes=(1, 2))
  return mirrored[:, :, ::-1] if view >= 4 else mirrored


def _turn_batch(
  view: jax.Array, batch: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  turns = [functools.partial(_turn, view=i) for i in range(NUM_VIEWS)]
  return batch | {'image': jax.lax.switch(view, turns, batch['image'])}


def _add(view: jax.Array, batch: dict, *, exclusive: bool) -> jax.Array:
  """Adds the probabilities of a view to the total, as logarithms.

  Logarithms, since 1 - p of a float32 p near 1 is lost.

  Args:
    view: int32[].
    batch: logits float32[B, S, S, K] of the view, and the total so far, None or
      what this function returns.
    exclusive: see `average`.

  Returns:
    float32[B, S, S, K], log sum p; with log sum (1 - p), too, float32[B, S, S,
    2 K], unless the classes exclude each other.
  """
  turns = [functools.partial(_turn_back, view=i) for i in range(NUM_VIEWS)]
  logits = jax.lax.switch(view, turns, batch['logits'])
  if exclusive:
    log_p = jax.nn.log_softmax(logits)
  else:
    both = jnp.concatenate([logits, -logits], axis=-1)
    log_p = jax.nn.log_sigmoid(both)
  if batch['total'] is None:
    return log_p
  return jnp.logaddexp(batch['total'], log_p)


def _finish(_: None, total: jax.Array, *, exclusive: bool) -> jax.Array:
  """Turns the total of `_add` into logits; the number of addends cancels."""
  if exclusive:
    return jax.nn.log_softmax(total)
  log_p, log_rest = jnp.split(total, 2, axis=-1)
  return log_p - log_rest

"""Confusion counts: int32 per window on the devices, int64 on the host."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = TypeVar('Array', jax.Array, np.ndarray)


def predicted_planes(logits: Array, *, exclusive: bool) -> Array:
  """Predicts the largest plane of each pixel, or all planes above p = 1/2.

  Args:
    logits: float32[..., K], of JAX or NumPy.
    exclusive: whether each pixel belongs to exactly one plane.

  Returns:
    bool[..., K].
  """
  if not exclusive:
    return logits > 0
  order = np.arange(logits.shape[-1]).reshape(*[1] * (logits.ndim - 1), -1)
  return logits.argmax(axis=-1, keepdims=True) == order


def confusion(
  pred: jax.Array, target: jax.Array, weight: jax.Array
) -> jax.Array:
  """Counts tp, fp, fn, tn for each image and plane.

  Args:
    pred: bool[B, H, W, K].
    target: float32[B, H, W, K], 0 or 1.
    weight: float32[B, H, W]; a pixel counts unless it is 0.

  Returns:
    int32[B, K, 4].
  """
  target, is_valid = target > 0.5, (weight > 0)[..., None]
  cells = (pred & target, pred & ~target, ~pred & target, ~pred & ~target)
  return jnp.stack(
    [jnp.sum(cell & is_valid, axis=(1, 2), dtype=jnp.int32) for cell in cells],
    axis=-1,
  )


def count_step(
  batch: dict[str, jax.Array],
  *,
  targets_of: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
  exclusive: bool,
  loss_of: Callable | None = None,
) -> dict[str, jax.Array | dict[str, jax.Array]]:
  """Counts the pixels of windows on one device.

  Args:
    batch: logits float32[b, H, W, K], label uint8[b, H, W] or [b, H, W, K],
      index int32[b], the image of each window, and weight float32[b], the
      window's share of its image; 0 for padding.
    targets_of: label -> target float32[b, H, W, K] and weight float32[b, H, W].
    exclusive: whether each pixel belongs to exactly one plane.
    loss_of: (logits, target, weight) -> the loss and its terms; optional.

  Returns:
    `counts` int32[b, K, 4], `index` and `weight` of the batch, and `losses`,
    float32[b] by name, the losses of each window alone; {} without `loss_of`.
  """
  logits = batch['logits']
  target, weight = targets_of(batch['label'])
  pred = predicted_planes(logits, exclusive=exclusive)
  losses: dict[str, jax.Array] = {}
  if loss_of:

    def losses_of(*example):
      loss, terms = loss_of(*(x[None] for x in example))
      return {'loss': loss, **terms}

    losses = jax.vmap(losses_of)(logits, target, weight)
  return dict(
    counts=confusion(pred, target, weight),
    index=batch['index'],
    weight=batch['weight'],
    losses=losses,
  )


def add_up(
  results: Sequence[dict], num_images: int
) -> tuple[np.ndarray, dict[str, float]]:
  """Adds up the counts of the windows of each image of a split.

  Args:
    results: what `count_step` returns, on the host.
    num_images: N, number of images of the split.

  Returns:
    int64[N, K, 4] of tp, fp, fn, tn, in the order of the split, and the mean
    over the images of each loss. The loss of an image of several windows is
    their mean, weighted by the pixels that count.

  Raises:
    RuntimeError: if not every image was counted exactly once.
  """
  rows = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
  is_image = rows['weight'] > 0
  rows = jax.tree.map(lambda x: x[is_image], rows)
  index, parts = rows['index'], rows['counts'].astype(np.int64)

  def sums(values: np.ndarray) -> np.ndarray:
    return np.bincount(index, values, minlength=num_images)

  covered = sums(rows['weight'])
  if len(covered) > num_images or not np.allclose(covered, 1, atol=1e-3):
    num_counted = np.count_nonzero(covered)
    raise RuntimeError(f'counted {num_counted} images of {num_images}')
  counts = np.zeros((num_images, *parts.shape[1:]), np.int64)
  np.add.at(counts, index, parts)
  pixels = np.maximum(parts[:, 0].sum(axis=-1), 1)
  losses = {
    # The quotients are exact where an image is one window.
    name: float((sums(pixels * x) / sums(pixels)).astype(np.float32).mean())
    for name, x in rows['losses'].items()
  }
  return counts, losses

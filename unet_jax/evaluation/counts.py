"""Confusion counts: int32 per batch on the devices, int64 on the host."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax import parallel
from unet_jax.nn import preprocess


def predicted_planes(logits: jax.Array, *, exclusive: bool) -> jax.Array:
  """Predicts the largest plane of each pixel, or all planes above p = 1/2.

  Args:
    logits: float32[B, H, W, K].
    exclusive: whether each pixel belongs to exactly one plane.

  Returns:
    bool[B, H, W, K].
  """
  if exclusive:
    return jax.nn.one_hot(
      jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=jnp.bool
    )
  return logits > 0


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
  variables: dict,
  batch: dict[str, jax.Array],
  *,
  apply_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
  exclusive: bool,
  loss_of: Callable | None = None,
  axis_name: str | None = None,
) -> dict[str, jax.Array | dict[str, jax.Array]]:
  """Predicts this device's part of a batch, counts, and gathers the counts.

  Args:
    variables: variables of the model.
    batch: image uint8[b, H, W, C], label uint8[b, H, W] or [b, H, W, K],
      index int32[b], and weight float32[b], 0 for padding.
    apply_fn: (variables, image) -> logits.
    preprocess_fn: (image, label) -> Inputs.
    exclusive: whether each pixel belongs to exactly one plane.
    loss_of: (logits, target, weight) -> the loss and its terms; optional.
    axis_name: axis of the devices; None if the step is not mapped.

  Returns:
    A dict over all devices: `counts` int32[B, K, 4], `index` and `weight` of
    the batch, and `losses`, float32[B] by name, the losses of each image alone;
    {} without `loss_of`.
  """
  inputs = preprocess_fn(batch['image'], batch['label'])
  logits = apply_fn(variables, inputs.image)
  counts = confusion(
    predicted_planes(logits, exclusive=exclusive), inputs.target, inputs.weight
  )
  losses: dict[str, jax.Array] = {}
  if loss_of:

    def losses_of(*example):
      loss, terms = loss_of(*(x[None] for x in example))
      return {'loss': loss, **terms}

    losses = jax.vmap(losses_of)(logits, inputs.target, inputs.weight)
  result: dict[str, jax.Array | dict[str, jax.Array]] = dict(
    counts=counts, index=batch['index'], weight=batch['weight'], losses=losses
  )
  if axis_name:
    result = jax.lax.all_gather(result, axis_name, tiled=True)
  return result


def count(
  step: Callable, variables: dict, batches: Iterable[dict], num_images: int
) -> tuple[np.ndarray, dict[str, float]]:
  """Counts a split on all devices.

  Args:
    step: `count_step`, mapped over the devices.
    variables: variables of the model, replicated.
    batches: batches from pipeline.eval_batches.
    num_images: number of images of the split.

  Returns:
    int64[N, K, 4] of tp, fp, fn, tn, in the order of the split, and the mean
    over the images of each loss that the step returns.

  Raises:
    RuntimeError: if not every image was counted exactly once.
  """
  results = [step(variables, batch) for batch in parallel.place_ahead(batches)]
  results = jax.device_get(results)
  result = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
  is_image = result.pop('weight') > 0
  result = jax.tree.map(lambda x: x[is_image], result)
  index, counts = result['index'], result['counts'].astype(np.int64)
  if not np.array_equal(np.sort(index), np.arange(num_images)):
    raise RuntimeError(f'counted {len(index)} images of {num_images}')
  losses = {name: float(x.mean()) for name, x in result['losses'].items()}
  return counts[np.argsort(index)], losses

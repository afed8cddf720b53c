"""The training step: a pure function of one device, with named collectives."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jax import flatten_util

from unet_jax.data import crops, moments
from unet_jax.nn import augment, preprocess
from unet_jax.training import collapse, parts


class TrainState(train_state.TrainState):
  """Flax's TrainState with batch norm's statistics, averages and a key.

  Attributes:
    step: int32[], number of finished steps, including skipped ones.
    batch_stats: running means and variances of batch norm.
    averaged: exponential moving averages of `params` and `batch_stats`, for
      evaluation and prediction.
    rng: base key of the run; the key of each sample is folded from it.
  """

  step: jax.Array
  batch_stats: Any
  averaged: Any
  rng: jax.Array


def init_state(
  apply_fn: Callable,
  variables: Mapping[str, Any],
  tx: optax.GradientTransformation,
  rng: jax.Array,
) -> TrainState:
  """Creates the state before step 1 from the initial variables of a model."""
  variables = {'batch_stats': {}, **variables}
  return TrainState.create(
    apply_fn=apply_fn,
    params=variables['params'],
    tx=tx,
    batch_stats=variables['batch_stats'],
    # A copy, because the step donates the state: a buffer may appear only once.
    averaged=jax.tree.map(jnp.copy, variables),
    rng=rng,
  ).replace(step=jnp.zeros((), jnp.int32))


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  augment_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
  loss_of: Callable,
  schedule: optax.Schedule,
  ema: float,
  exclusive: bool,
  accumulate: int = 1,
  stages: parts.Stages = parts.ALL_TRAIN,
  axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Updates the state from this device's part of a batch.

  If the loss or a gradient isn't finite, the step is skipped: only the counters
  change.

  Args:
    state: the training state, equal on all devices.
    batch: image [b, W, W, C], label uint8[b, W, W] or [b, W, W, K], and index
      int32[b], the position in the global stream; also weight_map float32[b, W,
      W], if pixels have weights, and mean and std float32[b, C], if these
      normalise each image.
    augment_fn: (key, image, label[, weight_map]) of one example ->
      the same arrays augmented, [S, S, ...].
    preprocess_fn: (image, label[, weight_map], [mean, std]) -> Inputs.
    loss_of: (logits, target, weight, axis_name) -> the loss and its terms.
    schedule: step -> learning rate, for the log.
    ema: decay of the averages; the first steps use a smaller decay.
    exclusive: whether each pixel belongs to exactly one plane.
    accumulate: number of chunks in which the batch goes through the model,
      for a model without batch norm; the loss is that of the whole batch.
    stages: the frozen parts by step, from parts.stages.
    axis_name: axis of the devices; None if the step is not mapped.

  Returns:
    The new state, and scalars: loss, its terms, learning_rate, skipped (1 or
    0), grad_norm, and the grad_norm and update_ratio of each part; also
    `planes`, float32[K, 6], from collapse.count.
  """
  inputs = make_inputs(state.rng, batch, augment_fn, preprocess_fn)
  loss, aux, grads = loss_and_grads(
    state,
    inputs,
    dropout_rngs(state.rng, batch['index']),
    loss_of=loss_of,
    accumulate=accumulate,
    stages=stages,
    axis_name=axis_name,
  )
  grad_norms = part_norms(grads)
  grad_norm = optax.tree.norm(grad_norms)
  is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  # jnp.where on each leaf would keep both states, and took 10 % more time.
  new, update_ratios = jax.lax.cond(
    is_finite,
    functools.partial(_update, ema=ema),
    _skip,
    state,
    grads,
    aux['batch_stats'],
  )
  metrics = {
    'loss': loss,
    **aux['terms'],
    'learning_rate': schedule(state.step),
    'skipped': 1 - is_finite.astype(jnp.int32),
    'grad_norm': grad_norm,
    **{f'grad_norm_{part}': x for part, x in grad_norms.items()},
    **{f'update_ratio_{part}': x for part, x in update_ratios.items()},
    'planes': collapse.count(
      aux['logits'],
      inputs.target,
      inputs.weight,
      exclusive=exclusive,
      axis_name=axis_name,
    ),
  }
  return new, metrics


def dropout_rngs(rng: jax.Array, index: jax.Array) -> jax.Array:
  """Returns the dropout keys, key[B].

  Folds in 2**32 - 1, which no sample has as its index, so the dropout keys
  differ from the keys of augmentation.
  """
  return augment.sample_rngs(jax.random.fold_in(rng, 2**32 - 1), index)


def make_inputs(
  rng: jax.Array,
  batch: dict[str, jax.Array],
  augment_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
) -> preprocess.Inputs:
  """Augments each example with its own key, and preprocesses the batch.

  Args:
    rng: base key of the run.
    batch: see `train_step`; image [b, W, W, C], and so on.
    augment_fn: see `train_step`.
    preprocess_fn: see `train_step`.
  """
  rngs = augment.sample_rngs(rng, batch['index'])
  moved = [batch[key] for key in crops.CROPPED if key in batch]
  changed = jax.vmap(augment_fn)(rngs, *moved)
  return preprocess_fn(*changed, **moments.of_example(batch))


def loss_and_grads(
  state: TrainState,
  inputs: preprocess.Inputs,
  rng_dropout: jax.Array,
  *,
  loss_of: Callable,
  accumulate: int,
  stages: parts.Stages,
  axis_name: str | None,
) -> tuple[jax.Array, dict, dict]:
  """Computes the loss of the whole batch and its gradients.

  Args:
    state: the training state; only its parameters, batch_stats and step are
      used.
    inputs: inputs of this device: image [b, S, S, C], target float32[b, S, S,
      K] and weight float32[b, S, S].
    rng_dropout: key[b], from `dropout_rngs`.
    loss_of, accumulate, stages, axis_name: see `train_step`.

  Returns:
    The loss; a dict of its `terms`, the new `batch_stats` and the `logits` of
    this device; and gradients shaped like the parameters, 0 where frozen.
  """

  def gradients(frozen: tuple[str, ...]):
    def loss_fn(trained):
      logits, batch_stats = forward(
        state.apply_fn,
        parts.fill(trained, state.params),
        state.batch_stats,
        inputs.image,
        rng_dropout,
        frozen=parts.frozen_blocks(state.params, frozen),
        chunks=accumulate,
      )
      loss, terms = loss_of(logits, inputs.target, inputs.weight, axis_name)
      return loss, dict(terms=terms, batch_stats=batch_stats, logits=logits)

    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      parts.split(state.params, frozen)
    )
    if axis_name:
      # The loss is a ratio of psum'ed sums, so each of N devices holds N times
      # the gradient of its share, and the mean over devices is the gradient.
      grads = _mean_over(axis_name, grads)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    return loss, aux, parts.fill(grads, zeros)

  return _at_stage(gradients, stages, state.step)


def forward(
  apply_fn: Callable,
  params: dict,
  batch_stats: dict,
  image: jax.Array,
  rng_dropout: jax.Array | None = None,
  *,
  frozen: tuple[str, ...] = (),
  chunks: int = 1,
) -> tuple[jax.Array, dict]:
  """Runs the model in training mode, chunk by chunk.

  With several chunks only the activations of one chunk are in memory at a time,
  and the backward pass recomputes them. The loss still sees the logits of all
  images, so pooled losses such as Dice are exact.

  Args:
    apply_fn: apply function of the model.
    params: parameters of the model.
    batch_stats: running statistics of batch norm.
    image: [B, H, W, C].
    rng_dropout: key[B], or None for no dropout.
    frozen: blocks that use running statistics even in training.
    chunks: number of chunks, for a model without batch norm.

  Returns:
    Logits float32[B, H, W, K], and the new batch_stats.
  """

  def apply(image, rng_dropout):
    logits, updated = apply_fn(
      {'params': params, 'batch_stats': batch_stats},
      image,
      train=True,
      frozen=frozen,
      rng_dropout=rng_dropout,
      mutable=['batch_stats'],
    )
    return logits, updated.get('batch_stats', {})

  if chunks == 1:
    return apply(image, rng_dropout)
  split = jax.tree.map(
    lambda x: x.reshape(chunks, -1, *x.shape[1:]), (image, rng_dropout)
  )
  remat = jax.checkpoint(lambda chunk: apply(*chunk)[0], prevent_cse=False)
  logits = jax.lax.map(remat, split)
  return logits.reshape(-1, *logits.shape[2:]), batch_stats


def part_norms(tree: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Returns the L2 norm of each part of a tree shaped like the parameters."""
  by_part: dict[str, list] = {}
  for block, leaves in tree.items():
    by_part.setdefault(parts.group(block), []).append(leaves)
  return {part: optax.tree.norm(leaves) for part, leaves in by_part.items()}


def _update(state: TrainState, grads: dict, batch_stats: dict, *, ema: float):
  """Applies gradients; returns the state and each part's relative update."""
  updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  changes = part_norms(optax.tree.sub(params, state.params))
  norms = part_norms(state.params)
  ratios = {part: changes[part] / (norms[part] + 1e-12) for part in norms}
  state = state.replace(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    batch_stats=batch_stats,
  )
  # With a large decay from the start the average would keep the first weights.
  decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
  averaged = jax.tree.map(
    # The average of an unchanged (frozen) weight stays equal to the bit.
    lambda new, old: jnp.where(
      new == old, old, (1 - decay) * new + decay * old
    ),
    {'params': state.params, 'batch_stats': state.batch_stats},
    state.averaged,
  )
  return state.replace(averaged=averaged), ratios


def _skip(state: TrainState, grads: dict, _):
  """Advances only the counters, as the schedule follows the data stream."""
  zeros = optax.tree.zeros_like(grads)
  _, counted = state.tx.update(zeros, state.opt_state, state.params)
  opt_state = jax.tree.map(
    lambda new, old: old if jnp.issubdtype(old.dtype, jnp.floating) else new,
    counted,
    state.opt_state,
  )
  ratios = dict.fromkeys(part_norms(state.params), jnp.zeros(()))
  return state.replace(step=state.step + 1, opt_state=opt_state), ratios


def _at_stage(gradients: Callable, stages: parts.Stages, step: jax.Array):
  """Calls `gradients` with the parts that are frozen at this step."""
  if len(stages) == 1:
    return gradients(stages[0][1])
  starts = jnp.asarray([start for start, _ in stages], jnp.int32)
  branches = [lambda f=frozen: gradients(f) for _, frozen in stages]
  return jax.lax.switch(jnp.sum(starts <= step[None]) - 1, branches)


def _mean_over(axis_name: str, grads: dict) -> dict:
  """Averages over the devices in one all-reduce; pmean needs one per leaf."""
  if jax.lax.axis_size(axis_name) == 1:
    return grads  # Saves copies: 8 of 67 ms for 8 M parameters on a CPU core.
  flat, unravel = flatten_util.ravel_pytree(grads)
  return unravel(jax.lax.pmean(flat, axis_name))

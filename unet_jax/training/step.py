"""One training step: pure, for one device, with named collectives."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jax import flatten_util

from unet_jax.data import crops
from unet_jax.nn import augment, preprocess
from unet_jax.training import collapse, parts


class TrainState(train_state.TrainState):
  """Flax's, with batch norm's statistics, the averaged weights and a key.

  Attributes:
    batch_stats: running means and variances.
    averaged: exponential averages of `params` and `batch_stats`; evaluation
      and prediction use them.
    rng: base key; each sample's key is folded from it.
    step: int32[], the updates that are finished, skipped ones included.
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
  """Makes the state before step 1 from a model's initial variables."""
  variables = {'batch_stats': {}, **variables}
  return TrainState.create(
    apply_fn=apply_fn,
    params=variables['params'],
    tx=tx,
    batch_stats=variables['batch_stats'],
    # A copy: the step donates the state, so no buffer may appear in it twice.
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
  """Updates the state by this device's part of a batch.

  Where the loss or a gradient isn't finite, only the counters change.

  Args:
    state: the same on every device.
    batch: image uint8[b, W, W, C], label uint8[b, W, W] or [b, W, W, K], and
      index int32[b], the position in the global stream; also weight_map
      float32[b, W, W], if pixels have weights.
    augment_fn: (key, image, label[, weight_map]) of one example ->
      [S, S, ...] of each.
    preprocess_fn: (image, label[, weight_map]) -> Inputs.
    loss_of: (logits, target, weight, axis_name) -> loss and its terms.
    schedule: step -> learning rate, to be logged.
    ema: decay of the averages; the first steps use a smaller one.
    exclusive: whether one plane holds at each pixel.
    accumulate: the images go through the model in so many turns, for a model
      without batch norm; the loss is that of all images together.
    stages: which parts are frozen when, from parts.stages.
    axis_name: axis of the devices; None if the step is not mapped.

  Returns:
    The new state, and scalars: loss, its terms, learning_rate, skipped (1 or
    0), grad_norm, and for each part its grad_norm and update_ratio; also
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
  # jnp.where on each leaf would keep both states, and took a tenth more time.
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
  """Returns dropout keys, key[B].

  They fold in 2**32 - 1, which no sample's index is, so they differ from the
  keys of augmentation.
  """
  return augment.sample_rngs(jax.random.fold_in(rng, 2**32 - 1), index)


def make_inputs(
  rng: jax.Array,
  batch: dict[str, jax.Array],
  augment_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
) -> preprocess.Inputs:
  """Augments each example by its own key, and makes the model's inputs.

  Args:
    rng: base key of the run.
    batch: as `train_step` takes it: image uint8[b, W, W, C], and so on.
    augment_fn: see `train_step`.
    preprocess_fn: see `train_step`.
  """
  rngs = augment.sample_rngs(rng, batch['index'])
  moved = [batch[key] for key in crops.CROPPED if key in batch]
  return preprocess_fn(*jax.vmap(augment_fn)(rngs, *moved))


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
  """Computes the loss of the whole batch, and its gradients.

  Args:
    state: its parameters and batch_stats are used.
    inputs: this device's: image [b, S, S, C], target float32[b, S, S, K] and
      weight float32[b, S, S].
    rng_dropout: key[b], from `dropout_rngs`.
    loss_of, accumulate, stages, axis_name: see `train_step`.

  Returns:
    The loss; a dict of its `terms`, the new `batch_stats` and this device's
    `logits`; and gradients shaped like the parameters, 0 for frozen ones.
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
        turns=accumulate,
      )
      loss, terms = loss_of(logits, inputs.target, inputs.weight, axis_name)
      return loss, dict(terms=terms, batch_stats=batch_stats, logits=logits)

    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      parts.split(state.params, frozen)
    )
    if axis_name:
      # The loss is made of psum'ed sums, so each of N devices holds N times the
      # gradient of its share, and the mean over devices is the whole gradient.
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
  turns: int = 1,
) -> tuple[jax.Array, dict]:
  """Runs the model in training mode, in `turns` turns; keeps all logits.

  With several turns only one turn's activations are in memory at a time, and
  the backward pass recomputes them. The loss still sees the logits of all
  images, so pooled losses such as Dice are exact.

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

  if turns == 1:
    return apply(image, rng_dropout)
  shares = jax.tree.map(
    lambda x: x.reshape(turns, -1, *x.shape[1:]), (image, rng_dropout)
  )
  once = jax.checkpoint(lambda share: apply(*share)[0], prevent_cse=False)
  logits = jax.lax.map(once, shares)
  return logits.reshape(-1, *logits.shape[2:]), batch_stats


def part_norms(tree: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Returns the Euclidean norm of each part of a tree like the parameters."""
  by_part: dict[str, list] = {}
  for block, leaves in tree.items():
    by_part.setdefault(parts.group(block), []).append(leaves)
  return {part: optax.tree.norm(leaves) for part, leaves in by_part.items()}


def _update(state: TrainState, grads: dict, batch_stats: dict, *, ema: float):
  """Takes the step; returns the state, and norm(update) / norm(weights)."""
  updates, opt_state = state.tx.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  moved = part_norms(optax.tree.sub(params, state.params))
  sizes = part_norms(state.params)
  ratios = {part: moved[part] / (sizes[part] + 1e-12) for part in sizes}
  state = state.replace(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    batch_stats=batch_stats,
  )
  # A smaller decay early on: else the average would keep the first weights.
  decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
  averaged = jax.tree.map(
    # An unchanged weight keeps its average to the bit.
    lambda new, old: jnp.where(
      new == old, old, (1 - decay) * new + decay * old
    ),
    {'params': state.params, 'batch_stats': state.batch_stats},
    state.averaged,
  )
  return state.replace(averaged=averaged), ratios


def _skip(state: TrainState, grads: dict, _):
  """Advances only the counters: the schedule goes on, as the data does."""
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
  """Calls `gradients` with the parts that are frozen at a step."""
  if len(stages) == 1:
    return gradients(stages[0][1])
  starts = jnp.asarray([start for start, _ in stages], jnp.int32)
  branches = [lambda f=frozen: gradients(f) for _, frozen in stages]
  return jax.lax.switch(jnp.sum(starts <= step[None]) - 1, branches)


def _mean_over(axis_name: str, grads: dict) -> dict:
  """Averages over the devices in one all-reduce; pmean takes one a leaf."""
  if jax.lax.axis_size(axis_name) == 1:
    return grads  # Saves copies: 8 of 67 ms for 8 M parameters on a CPU core.
  flat, unravel = flatten_util.ravel_pytree(grads)
  return unravel(jax.lax.pmean(flat, axis_name))

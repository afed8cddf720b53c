"""One training step: pure, for one device, with named collectives."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jax import flatten_util

from unet_jax.nn import preprocess
from unet_jax.training import collapse


class TrainState(train_state.TrainState):
  """Flax's, with batch norm's statistics, the averaged weights and the key.

  Attributes:
    batch_stats: running means and variances.
    averaged: exponential averages of `params` and `batch_stats`; evaluation
      and prediction use them.
    rng: base key, from which each sample's is folded.
  """

  batch_stats: Any
  averaged: Any
  rng: jax.Array


def init_state(
  apply_fn: Callable,
  variables: dict,
  tx: optax.GradientTransformation,
  rng: jax.Array,
) -> TrainState:
  """Makes the state before step 1 of a model's initial variables."""
  variables = {'batch_stats': {}, **variables}
  return TrainState.create(
    apply_fn=apply_fn,
    params=variables['params'],
    tx=tx,
    batch_stats=variables['batch_stats'],
    averaged=jax.tree.map(jnp.copy, variables),  # Donated: not the same memory.
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
  axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Updates the state by this device's part of a batch.

  Where the loss or a gradient isn't finite, nothing changes but the counters.

  Args:
    state: the same on every device.
    batch: image uint8[b, S, S, C], label uint8[b, S, S] or [b, S, S, K], and
      index int32[b], the position in the global stream.
    augment_fn: (key, image, label) of one example -> image and label.
    preprocess_fn: (image, label) -> Inputs.
    loss_of: (logits, target, weight, axis_name) -> loss and its terms.
    schedule: step -> learning rate, to be logged.
    ema: decay of the averages, reached as steps go by.
    exclusive: whether one plane holds at each pixel.
    axis_name: of the devices; None where there is one, unmapped.

  Returns:
    The new state, and scalars: loss, its terms, learning_rate, skipped (1 or
    0), grad_norm, and of each part its own and update_ratio; also `planes`,
    float32[K, 5], as collapse.count gives them.
  """
  inputs = make_inputs(state, batch, augment_fn, preprocess_fn)
  (loss, aux), grads = loss_and_grads(state, inputs, loss_of, axis_name)
  grad_norms = part_norms(grads)
  grad_norm = optax.tree.norm(grad_norms)
  is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  # A choice leaf by leaf would keep both states, and took a tenth more time.
  new, update_ratios = jax.lax.cond(
    is_finite,
    functools.partial(_update, ema=ema),
    _skip,
    *(state, grads, aux['batch_stats']),
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


def _update(state: TrainState, grads: dict, batch_stats: dict, *, ema: float):
  """Takes the step; returns the state and each part's update over weight."""
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
  # Early on the average forgets faster, or it would keep the first weights.
  decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
  averaged = optax.incremental_update(
    {'params': state.params, 'batch_stats': state.batch_stats},
    state.averaged,
    1 - decay,
  )
  return state.replace(averaged=averaged), ratios


def _skip(state: TrainState, grads: dict, _):
  """Keeps all but the counters: the schedule goes on, as the data does."""
  zeros = optax.tree.zeros_like(grads)
  _, counted = state.tx.update(zeros, state.opt_state, state.params)
  opt_state = jax.tree.map(
    lambda new, old: old if jnp.issubdtype(old.dtype, jnp.floating) else new,
    counted,
    state.opt_state,
  )
  ratios = dict.fromkeys(part_norms(state.params), jnp.zeros(()))
  return state.replace(step=state.step + 1, opt_state=opt_state), ratios


def make_inputs(
  state: TrainState,
  batch: dict[str, jax.Array],
  augment_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
) -> preprocess.Inputs:
  """Augments a batch, each sample by the key of its position."""
  rngs = jax.vmap(jax.random.fold_in, (None, 0))(state.rng, batch['index'])
  image, label = jax.vmap(augment_fn)(rngs, batch['image'], batch['label'])
  return preprocess_fn(image, label)


def loss_and_grads(
  state: TrainState,
  inputs: preprocess.Inputs,
  loss_of: Callable,
  axis_name: str | None,
) -> tuple[tuple[jax.Array, dict], dict]:
  """Computes the loss, its `terms`, `batch_stats` and `logits`, and gradients.

  The loss and the gradients are those of the whole batch, on every device.
  """

  def loss_fn(params):
    logits, updated = state.apply_fn(
      {'params': params, 'batch_stats': state.batch_stats},
      inputs.image,
      train=True,
      mutable=['batch_stats'],
    )
    loss, terms = loss_of(logits, inputs.target, inputs.weight, axis_name)
    aux = {'batch_stats': {}, **updated, 'terms': terms, 'logits': logits}
    return loss, aux

  value, grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
  if axis_name:
    # A loss of psum'ed sums has, on each of N devices, N times the gradient of
    # its part, so the mean over devices is the gradient of the whole.
    grads = _mean_over(axis_name, grads)
  return value, grads


def part_of(name: str) -> str:
  """Returns the part of the network that a module of the U-Net is in."""
  prefixes = dict(down='encoder', bottleneck='bottleneck', head='head')
  found = (part for key, part in prefixes.items() if name.startswith(key))
  return next(found, 'decoder')


def part_norms(tree: dict) -> dict[str, jax.Array]:
  """Returns the Euclidean norm of each part of a tree like the parameters."""
  parts = {}
  for name, leaves in tree.items():
    parts.setdefault(part_of(name), []).append(leaves)
  return {part: optax.tree.norm(leaves) for part, leaves in parts.items()}


def _mean_over(axis_name: str, grads: dict) -> dict:
  """Averages over the devices by one all-reduce, where pmean has one a leaf."""
  if jax.lax.axis_size(axis_name) == 1:
    return grads  # Spares copies: 8 of 67 ms for 8 M parameters on a CPU core.
  flat, unravel = flatten_util.ravel_pytree(grads)
  return unravel(jax.lax.pmean(flat, axis_name))

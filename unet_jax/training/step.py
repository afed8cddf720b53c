"""One training step: pure, for one device, with named collectives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jax import flatten_util

from unet_jax.nn import augment, preprocess


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
  axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Updates the state by this device's part of a batch.

  Args:
    state: the same on every device.
    batch: image uint8[b, W, W, C], label uint8[b, W, W] or [b, W, W, K], and
      index int32[b], the position in the global stream.
    augment_fn: (key, image, label) of one example -> [S, S, ...] of both.
    preprocess_fn: (image, label) -> Inputs.
    loss_of: (logits, target, weight, axis_name) -> loss and its terms.
    schedule: step -> learning rate, to be logged.
    ema: decay of the averages, reached as steps go by.
    axis_name: of the devices; None where there is one, unmapped.

  Returns:
    The new state, and scalars: loss, its terms, grad_norm, learning_rate.
  """
  rngs = augment.sample_rngs(state.rng, batch['index'])
  image, label = jax.vmap(augment_fn)(rngs, batch['image'], batch['label'])
  inputs = preprocess_fn(image, label)

  def loss_fn(params):
    logits, updated = state.apply_fn(
      {'params': params, 'batch_stats': state.batch_stats},
      inputs.image,
      train=True,
      mutable=['batch_stats'],
    )
    loss, terms = loss_of(logits, inputs.target, inputs.weight, axis_name)
    return loss, (terms, updated.get('batch_stats', {}))

  (loss, (terms, batch_stats)), grads = jax.value_and_grad(
    loss_fn, has_aux=True
  )(state.params)
  if axis_name:
    # A loss of psum'ed sums has, on each of N devices, N times the gradient of
    # its part, so the mean over devices is the gradient of the whole.
    grads = _mean_over(axis_name, grads)
  learning_rate = schedule(state.step)
  state = state.apply_gradients(grads=grads, batch_stats=batch_stats)
  # Early on the average forgets faster, or it would keep the first weights.
  decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
  averaged = optax.incremental_update(
    {'params': state.params, 'batch_stats': state.batch_stats},
    state.averaged,
    1 - decay,
  )
  metrics = {
    'loss': loss,
    **terms,
    'grad_norm': optax.tree.norm(grads),
    'learning_rate': learning_rate,
  }
  return state.replace(averaged=averaged), metrics


def _mean_over(axis_name: str, grads: dict) -> dict:
  """Averages over the devices by one all-reduce, where pmean has one a leaf."""
  if jax.lax.axis_size(axis_name) == 1:
    return grads  # Spares copies: 8 of 67 ms for 8 M parameters on a CPU core.
  flat, unravel = flatten_util.ravel_pytree(grads)
  return unravel(jax.lax.pmean(flat, axis_name))

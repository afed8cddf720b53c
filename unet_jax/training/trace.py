"""Finds where a step first went wrong: the layer, loss term or gradient."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import traverse_util

from unet_jax import build, parallel
from unet_jax.data import pipeline, sources
from unet_jax.nn import preprocess
from unet_jax.training import parts
from unet_jax.training import step as step_lib


def trace_step(
  state: step_lib.TrainState,
  batch: dict[str, jax.Array],
  *,
  apply_fn: Callable,
  augment_fn: Callable,
  preprocess_fn: Callable[..., preprocess.Inputs],
  loss_of: Callable,
  stages: parts.Stages = parts.ALL_TRAIN,
  axis_name: str | None = None,
) -> dict[str, jax.Array | dict[str, jax.Array]]:
  """Reruns a step and reports which intermediate values are finite.

  Takes the arguments of the step, except for `apply_fn`.

  Args:
    state: the state before the step.
    batch: the batch of the step.
    apply_fn: apply function of the model without remat, because remat would
      hide the layers.
    augment_fn: see step.train_step.
    preprocess_fn: see step.train_step.
    loss_of: see step.train_step.
    stages: see step.train_step.
    axis_name: axis of the devices; None if the step is not mapped.

  Returns:
    A dict of booleans, True where values are finite: `weights` and `gradients`,
    bool[] by leaf; `inputs` and `layers`, bool[B] by name, in the order of
    `index`; `terms`, bool[] by name; `loss`, bool[]. JAX sorts dicts, so the
    name of a layer begins with its place in the order of execution.
  """
  inputs = step_lib.make_inputs(state.rng, batch, augment_fn, preprocess_fn)

  def traced_apply(*args, **kwargs):
    layers: dict[str, jax.Array] = {}

    def record(call, args, kwargs, context):
      out = call(*args, **kwargs)
      if context.method_name == '__call__':
        name = '/'.join(context.module.path) or 'logits'
        layers[f'{len(layers):04}:{name}'] = _finite_samples(out)
      return out

    with nn.intercept_methods(record):
      logits, _ = apply_fn(*args, **kwargs)
    # Smuggled out as batch_stats, the only other output of the model.
    return logits, {'batch_stats': layers}

  traced = state.replace(apply_fn=traced_apply)
  loss, aux, grads = step_lib.loss_and_grads(
    traced,
    inputs,
    step_lib.dropout_rngs(state.rng, batch['index']),
    loss_of=loss_of,
    accumulate=1,
    stages=stages,
    axis_name=axis_name,
  )
  samples: dict[str, jax.Array | dict[str, jax.Array]] = {
    'index': batch['index'],
    'inputs': {k: _finite_samples(v) for k, v in inputs._asdict().items()},
    'layers': aux['batch_stats'],
  }
  if axis_name:
    samples = jax.lax.all_gather(samples, axis_name, tiled=True)
  return samples | {
    'weights': _finite_leaves(state.params),
    'terms': {k: jnp.isfinite(v) for k, v in aux['terms'].items()},
    'loss': jnp.isfinite(loss),
    'gradients': _finite_leaves(grads),
  }


def locate(
  trace_step: Callable,
  state: step_lib.TrainState,
  step: int,
  *,
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
) -> str:
  """Replays a step; describes where it fails, and for which images.

  Args:
    trace_step: `trace_step`, mapped over the devices.
    state: the state before the step, or a state with the same weights.
    step: number of the step.
    config: config of the run.
    dataset: data set of the run.
  """
  batch = next(build.make_batches(config, dataset, first_step=step))
  traced = jax.device_get(trace_step(state, parallel.place_batch(batch)))
  sampling = build.make_sampling(config, dataset)
  names = pipeline.names(dataset.splits['train'], sampling, traced['index'])
  return f'in step {step}, {explain(traced, names)}'


def explain(traced: dict, names: dict[int, str]) -> str:
  """Names the first value that isn't finite, and the images that cause it.

  Follows cause and effect: weights, inputs, layers in the order of execution,
  loss terms, then gradients from the head back.

  Args:
    traced: the result of `trace_step`, on the host.
    names: position in the stream -> name of the image.
  """
  for leaf, is_finite in traced['weights'].items():
    if not is_finite:
      return f'the weight {leaf} is not finite before the step'
  for group in ('inputs', 'layers'):
    for key, is_finite in sorted(traced[group].items()):
      if not np.all(is_finite):
        images = _name_images(traced['index'][~is_finite], names)
        if group == 'inputs':
          return f'the preprocessed {key} is not finite, for {images}'
        layer = _layer(key)
        return f'the first layer that is not finite is {layer}, for {images}'
  for term, is_finite in traced['terms'].items():
    if not is_finite:
      return f'the loss term {term} is not finite, though every layer is'
  gradients = traced['gradients'].items()
  failed = [leaf for leaf, is_finite in gradients if not is_finite]
  if failed:
    # The backward pass goes from the last layer to the first.
    layers = map(_layer, sorted(traced['layers']))
    place = {layer: i for i, layer in enumerate(layers)}
    first = max(failed, key=lambda leaf: place[leaf.rpartition('/')[0]])
    return f'the gradient of {first} is not finite, though the loss is'
  return 'the replayed step is finite: the weights have changed since then'


def _layer(key: str) -> str:
  """Removes the place in the order of execution from a layer's name."""
  return key.partition(':')[2]


def _name_images(positions: Sequence[int], names: dict[int, str]) -> str:
  """Lists the names at these positions; all of them are `every image`."""
  bad = {names[int(i)] for i in positions}
  listed = ', '.join(sorted(bad))
  return f'every image ({listed})' if bad == set(names.values()) else listed


def _finite_samples(x: jax.Array) -> jax.Array:  # [B, ...] -> bool[B]
  return jnp.isfinite(x).reshape(x.shape[0], -1).all(axis=1)


def _finite_leaves(tree: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Returns whether each array is finite, bool[] by its path."""
  flat = traverse_util.flatten_dict(tree, sep='/')
  return {name: jnp.isfinite(x).all() for name, x in flat.items()}

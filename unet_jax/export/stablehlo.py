"""Writes a network as StableHLO, which JAX loads without this package."""

import jax
import jax.export
import jax.numpy as jnp

from unet_jax.evaluation import trained
from unet_jax.export import network

PLATFORMS = ('cpu', 'cuda')


def encode(model: trained.Trained) -> bytes:
  """Returns the network of `network.make_function` for `jax.export`.

  Batch and sides are symbolic.
  """
  factor, channels = network.multiple(model), len(model.predictor.mean)
  shape = jax.export.symbolic_shape(
    f'batch, {factor}*rows, {factor}*columns, {channels}'
  )
  exported = jax.export.export(
    jax.jit(network.make_function(model)), platforms=PLATFORMS
  )(jax.ShapeDtypeStruct(shape, jnp.float32))
  return bytes(exported.serialize())

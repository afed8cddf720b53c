"""Dropout that any number of devices draws alike."""

import jax
import jax.numpy as jnp


def sample_dropout(
  rngs: jax.Array | None, x: jax.Array, *, rate: float, layer: int
) -> jax.Array:
  """Zeroes elements at random and scales the rest up to keep the mean.

  Srivastava et al. 2014. A sample's own key draws what it loses, so that it is
  the same on whichever device and beside whatever others it is computed.

  Args:
    rngs: key[B], one a sample; None drops nothing.
    x: float32 | bfloat16[B, H, W, C].
    rate: share of the elements that become 0, below 1.
    layer: number in the model; each draws anew.
  """
  if rngs is None or not rate:
    return x

  def keep(rng):
    rng = jax.random.fold_in(rng, layer)
    return jax.random.bernoulli(rng, 1 - rate, x.shape[1:])

  return jnp.where(jax.vmap(keep)(rngs), x / (1 - rate), 0)

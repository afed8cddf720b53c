"""Dropout whose draws do not depend on the number of devices."""

import jax
import jax.numpy as jnp


def sample_dropout(
  rngs: jax.Array | None, x: jax.Array, *, rate: float, layer: int
) -> jax.Array:
  """Zeroes elements at random and scales the rest up to keep the mean.

  Srivastava et al. 2014. Each sample has its own key, so the same elements are
  dropped on any device and in any batch.

  Args:
    rngs: key[B], one per sample; None drops nothing.
    x: float32 | bfloat16[B, H, W, C].
    rate: share of the elements that become 0, below 1.
    layer: number of the layer in the model; each layer draws different numbers.

  Returns:
    [B, H, W, C] in the type of x.
  """
  if rngs is None or not rate:
    return x

  def keep(rng):
    rng = jax.random.fold_in(rng, layer)
    return jax.random.bernoulli(rng, 1 - rate, x.shape[1:])

  return jnp.where(jax.vmap(keep)(rngs), x / (1 - rate), 0)

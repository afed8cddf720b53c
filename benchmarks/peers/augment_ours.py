"""unet_jax: the training step's augmentation, compiled alone."""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import pairs
import serve

from unet_jax.nn import augment


def main() -> None:
  """Augments the batch that the arguments, as JSON, describe."""
  args = json.loads(sys.argv[1])
  images, masks = map(jax.device_put, pairs.make(args['size'], args['batch']))
  ranges = augment.Ranges(
    horizontal_flip=True,
    vertical_flip=True,
    rotation_range=pairs.ROTATION,
    width_shift_range=pairs.SHIFT,
    height_shift_range=pairs.SHIFT,
    shear_range=pairs.SHEAR,
    zoom_range=(1 - pairs.ZOOM, 1 + pairs.ZOOM),
  )
  change = functools.partial(augment.augment, size=args['size'], ranges=ranges)
  rng = jax.random.key(0)

  @jax.jit
  def augment_batch(first):
    index = first + jnp.arange(args['batch'])
    return jax.vmap(change)(augment.sample_rngs(rng, index), images, masks)

  first = 0

  def run(steps: int) -> None:
    nonlocal first
    for _ in range(steps):
      first += args['batch']
      pair = augment_batch(first)
    jax.block_until_ready(pair)

  serve.serve(run, version=f'jax {jax.__version__}')


if __name__ == '__main__':
  main()

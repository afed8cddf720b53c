"""unet_jax: the trainer's own step, with input, augmentation and averaging."""

import json
import sys

import jax
import numpy as np
import serve
import trainer

from unet_jax import build, parallel
from unet_jax import config as config_lib
from unet_jax.data import pipeline
from unet_jax.nn import preprocess


def main() -> None:
  """Builds the run that the arguments, as JSON, describe, and serves it."""
  args = json.loads(sys.argv[1])
  build.start()
  run = trainer.make_run(
    classes=('a', 'b', 'c'),
    **{
      'batch_size': args['batch'],
      'image_size': args['size'],
      'precision': args['precision'],
      'engine': args.get('engine', 'auto'),
      'total_steps': 10_000,
      'model.depth': args['depth'],
      'model.width': args['width'],
    },
  )
  examples = make_examples(args['size'], args['batch'])
  state = parallel.replicate(run.init())
  batches = pipeline.train_batches(
    examples,
    batch_size=args['batch'],
    image_size=args['size'],
    window_size=build.window_size(config_lib.from_dict(run.meta['config'])),
    seed=0,
    first_step=1,
  )
  image = jax.device_put(np.stack([e['image'] for e in examples]))

  @jax.jit
  def infer_step(variables, image):
    image = preprocess.normalise(image, run.meta['mean'], run.meta['std'])
    return run.model.apply(variables, image)

  placed = parallel.place_ahead(batches)

  def train() -> None:
    nonlocal state
    state, metrics = run.train_step(state, next(placed))
    jax.block_until_ready((state, metrics))

  def infer() -> None:
    infer_step(state.averaged, image).block_until_ready()

  serve.serve(
    train,
    infer,
    parameters=sum(x.size for x in jax.tree.leaves(state.params)),
    version=f'jax {jax.__version__}, {run.model.engine}',
    flops=3 * count_flops(run.model, state.averaged, image),
    device=jax.devices()[0].device_kind,
  )


def make_examples(size: int, count: int) -> list[dict]:
  """Draws images and labels of noise."""
  rng = np.random.default_rng(0)
  return [
    dict(
      image=rng.integers(0, 256, (size, size, 3), np.uint8),
      label=rng.integers(0, 4, (size, size), np.uint8),
    )
    for _ in range(count)
  ]


def count_flops(model, variables: dict, image: jax.Array) -> float:
  """Returns the operations of a forward pass; a training step has 3 times."""
  plain = model.clone(engine='xla')
  return jax.jit(plain.apply).lower(variables, image).cost_analysis()['flops']


if __name__ == '__main__':
  main()

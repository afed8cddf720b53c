"""The trainer's step at any size, and tables, for the other benchmarks."""

import pathlib
import runpy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from unet_jax import build, parallel
from unet_jax.data import pipeline, sources
from unet_jax.nn import preprocess
from unet_jax.training import setup

CONFIG = pathlib.Path(__file__).parents[1] / 'configs/multiclass.py'


def make_config(**overrides):
  """Returns the config with overrides such as **{'model.width': 32}."""
  config = runpy.run_path(str(CONFIG))['get_config']()
  config.update_from_flattened_dict(overrides)
  return config


def make_run(classes=('a', 'b'), **overrides) -> setup.Run:
  """Builds a run without a data set; see `make_config` for overrides."""
  config = make_config(**overrides)
  stats = sources.Stats(classes, mean=(128.0,) * 3, std=(64.0,) * 3)
  return setup.make_run(config, stats)


class Case(NamedTuple):
  """The trainer's step, and inference.

  Each is a compiled program, and a function that runs a number of steps and
  waits for the last one.
  """

  train: tuple[Any, Callable[[int], None]]
  infer: tuple[Any, Callable[[int], None]]
  model: nn.Module
  num_params: int
  flops: float  # FLOP of inference; a training step needs 3 times as many.


def make_case(
  *,
  width: int,
  size: int,
  batch: int,
  depth: int = 4,
  precision: str = 'auto',
  engine: str = 'auto',
) -> Case:
  """Builds a U-Net for four classes, with the trainer's whole step."""
  settings = {
    'batch_size': batch,
    'image_size': size,
    'precision': precision,
    'engine': engine,
    'total_steps': 10_000,
    'model.depth': depth,
    'model.width': width,
  }
  run = make_run(classes=('a', 'b', 'c'), **settings)
  model, mean, std = run.predictor.model, run.predictor.mean, run.predictor.std
  examples = make_examples(size, batch)
  batches = make_batches(make_config(**settings), examples)
  image = jax.device_put(np.stack([e['image'] for e in examples]))
  state = parallel.replicate(parallel.on_host(run.init))

  def infer_step(variables, image):
    return model.apply(variables, preprocess.normalise(image, mean, std))

  compiled = jax.jit(infer_step).lower(state.averaged, image).compile()

  def train(steps: int) -> None:
    nonlocal state
    for _ in range(steps):
      state, metrics = run.train_step(state, next(batches))
    jax.block_until_ready((state, metrics))

  def infer(steps: int) -> None:
    for _ in range(steps):
      logits = compiled(state.averaged, image)
    logits.block_until_ready()

  return Case(
    train=(run.train_step.lower(state, next(batches)).compile(), train),
    infer=(compiled, infer),
    model=model,
    num_params=sum(x.size for x in jax.tree.leaves(state.params)),
    flops=count_flops(model, jax.eval_shape(run.init).averaged, image.shape),
  )


def make_batches(config, source: sources.Examples) -> Iterator[dict]:
  """Yields training batches on the devices, like the training loop."""
  return parallel.place_ahead(host_batches(config, source))


def host_batches(config, source: sources.Examples) -> Iterator[dict]:
  """Yields training batches on the host, from step 1 on."""
  sampling = pipeline.Sampling(
    config.image_size, build.window_size(config), config.seed
  )
  return pipeline.train_batches(source, sampling, batch_size=config.batch_size)


def count_flops(model: nn.Module, variables: dict, shape: tuple) -> float:
  """Returns the FLOP of inference with XLA's plain convolutions."""
  apply = jax.jit(model.clone(engine='xla').apply)
  image = jax.ShapeDtypeStruct(shape, jnp.float32)
  # Only the CPU backend can analyse a program that is lowered, not compiled.
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    cost: Any = apply.lower(variables, image).cost_analysis()
    return cost['flops']


def make_examples(size: int, count: int) -> list[dict]:
  """Draws random images uint8[S, S, 3], and labels uint8[S, S] of 4 classes."""
  rng = np.random.default_rng(0)
  return [
    dict(
      image=rng.integers(0, 256, (size, size, 3), np.uint8),
      label=rng.integers(0, 4, (size, size), np.uint8),
    )
    for _ in range(count)
  ]


def abstract_batch(size: int, batch_size: int) -> dict:
  """Returns the shapes and dtypes of a placed batch, [devices, b, ...]."""
  devices = jax.device_count()
  shape = (devices, batch_size // devices, size, size)
  return dict(
    image=jax.ShapeDtypeStruct((*shape, 3), jnp.uint8),
    label=jax.ShapeDtypeStruct(shape, jnp.uint8),
    index=jax.ShapeDtypeStruct(shape[:2], jnp.int32),
  )


def table(header: list[str], rows: list[list]) -> str:
  """Formats a Markdown table."""
  return '\n'.join(map(row, [header, ['---'] * len(header), *rows]))


def row(cells: list) -> str:
  """Formats a row of a Markdown table."""
  return '| ' + ' | '.join(map(str, cells)) + ' |'

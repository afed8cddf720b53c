"""What training and evaluation build alike from a config."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax import cache, parallel
from unet_jax import config as config_lib
from unet_jax.data import labels, pipeline, sources
from unet_jax.nn import augment, conv, native, preprocess, unet


class Task(NamedTuple):
  """What the planes of logits mean."""

  planes: tuple[str, ...]  # A name each.
  num_foreground: int  # The last of the planes.
  exclusive: bool  # Softmax over the planes, or a sigmoid each.


def start() -> None:
  """Readies the process; call it before JAX makes its first array."""
  native.keep_memory()
  if not jax.config.jax_compilation_cache_dir:
    folder = cache.folder() / f'xla-{cache.machine()}'
    jax.config.update('jax_compilation_cache_dir', str(folder))


def make_task(config, classes: Sequence[str]) -> Task:
  """Names the planes for the foreground classes."""
  planes = labels.class_names(config.task, classes)
  return Task(planes, len(classes), config.task == 'multiclass')


def choose_engine(requested: str) -> str:
  """Returns what runs the convolutions here; see conv.choose_engine."""
  try:
    return conv.choose_engine(jax.default_backend(), requested)
  except ValueError as error:
    raise config_lib.InputError(f'config.engine: {error}') from None


def compute_dtype(precision: str, engine: str) -> jnp.dtype:
  """Returns float32 or bfloat16; `auto` is the one that is fast here."""
  if precision == 'auto':
    is_fast = jax.default_backend() != 'cpu' or (
      engine == 'native' and native.has_fast_bfloat16()
    )
    precision = 'bfloat16' if is_fast else 'float32'
  return jnp.dtype(precision)


def make_model(config, task: Task) -> unet.UNet:
  """Builds the model; it names the devices' axis in training only."""
  engine = choose_engine(config.engine)
  return unet.UNet(
    num_planes=len(task.planes),
    depth=config.model.depth,
    width=config.model.width,
    norm=config.model.norm,
    dtype=compute_dtype(config.precision, engine),
    remat=config.model.remat,
    engine=engine,
    axis_name=parallel.AXIS,
  )


def make_batches(
  config,
  dataset: sources.Dataset,
  *,
  first_step: int = 1,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields training's batches from a step on; see pipeline.train_batches."""
  return pipeline.train_batches(
    dataset.splits['train'],
    batch_size=config.batch_size,
    image_size=config.image_size,
    window_size=window_size(config),
    table=dataset.places,
    foreground_share=config.data.foreground_share,
    seed=config.seed,
    first_step=first_step,
    process_index=process_index,
    process_count=process_count,
  )


def window_size(config) -> int:
  """Returns the side of the images in training's batches."""
  ranges = augment.Ranges(**config.augment)
  return augment.window_size(config.image_size, ranges)


def make_augment(config) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Binds the config to `augment`, for one example."""
  ranges = augment.Ranges(**config.augment)
  return functools.partial(
    augment.augment, size=config.image_size, ranges=ranges
  )


def make_preprocess(
  task: Task, mean: Sequence[float], std: Sequence[float]
) -> Callable[..., preprocess.Inputs]:
  """Binds the data set's constants to `preprocess`."""
  return functools.partial(
    preprocess.preprocess,
    mean=tuple(mean),
    std=tuple(std),
    num_planes=len(task.planes),
    exclusive=task.exclusive,
  )

"""The trainer's step at any size, for the scripts beside this file."""

import pathlib
import runpy

import jax
import jax.numpy as jnp

from unet_jax.data import sources
from unet_jax.training import setup

CONFIG = pathlib.Path(__file__).parents[1] / 'configs/multiclass.py'


def make_config(**overrides):
  """Returns the config; overrides are 'model.width': 32 and so on."""
  config = runpy.run_path(str(CONFIG))['get_config']()
  config.update_from_flattened_dict(overrides)
  return config


def make_run(classes=('a', 'b'), **overrides) -> setup.Run:
  """Builds a run without data."""
  config = make_config(**overrides)
  dataset = sources.Dataset(
    splits={},
    classes=classes,
    root='',
    mean=(128.0,) * 3,
    std=(64.0,) * 3,
    digests={},
    notes=(),
  )
  return setup.make_run(config, dataset)


def abstract_batch(size: int, batch_size: int) -> dict:
  """Returns the shapes of a global batch, as a step takes it."""
  devices = jax.device_count()
  shape = (devices, batch_size // devices, size, size)
  return dict(
    image=jax.ShapeDtypeStruct((*shape, 3), jnp.uint8),
    label=jax.ShapeDtypeStruct(shape, jnp.uint8),
    index=jax.ShapeDtypeStruct(shape[:2], jnp.int32),
  )


def table(header: list[str], rows: list[list]) -> str:
  """Lays out Markdown."""
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join('| ' + ' | '.join(map(str, x)) + ' |' for x in lines)

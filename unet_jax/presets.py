"""What several files in configs/ share."""

import os
import pathlib

import ml_collections

from unet_jax import config_files, errors

# DIARETDB1's masks, merged as in Roychowdhury's tutorial (README links it).
LESIONS = dict(
  red_lesions=('hemorrhages', 'redsmalldots'),
  bright_lesions=('hardexudates', 'softexudates'),
)


def data_root() -> str:
  """Returns the folder of the data sets that configs name."""
  return os.environ.get('UNET_JAX_DATA', 'data')


def shrink(config: ml_collections.ConfigDict) -> None:
  """Makes a run of seconds, for tests: a few steps of a tiny model."""
  config.batch_size, config.image_size = 4, 64
  config.total_steps, config.eval_every, config.save_every = 4, 2, 2
  config.model.update(depth=2, width=4)


def unknown_variant(variant: str, file: str) -> errors.InputError:
  """Returns the error of a config file that has no such variant."""
  path = pathlib.Path(file)
  listed = ', '.join(x for x in config_files.variants(path) if x != 'none')
  return errors.InputError(
    f'{path.stem} has no variant {variant!r}; name none, or one of {listed}'
  )

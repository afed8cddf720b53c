"""Retinal vessels, or any one class against the rest.

  python -m unet_jax.main --config configs/binary.py[:VARIANT]

Variants, with their time on 2 cores without a GPU and test F1:
  none      vessels of the embedded data
  residual  the same, with residual blocks
  folder    your own images, with masks of 0 and 255
  stare     vessels of STARE: 5 minutes, 0.811
  tiny      seconds, for tests
"""

import os

from unet_jax import defaults

ROOT = os.environ.get('UNET_JAX_DATA', 'data')


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  config.task = 'binary'
  config.image_size = 256
  config.total_steps = 600
  config.data.update(mask='binary', classes=('vessels',))
  if arg == 'residual':
    config.model.name = 'residual'
  elif arg == 'folder':
    config.data.update(source='folder', classes=('foreground',))
  elif arg == 'stare':
    config.data.update(source='folder', root=f'{ROOT}/stare_vessels')
  elif arg == 'tiny':
    defaults.shrink(config)
  elif arg:
    raise ValueError(
      f'unknown variant {arg!r}: see the top of configs/binary.py'
    )
  return config

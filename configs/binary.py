"""Retinal vessels, or any single class against the rest.

  python -m unet_jax.main --config configs/binary.py[:VARIANT]

Variants, with time and test F1 on 2 cores without a GPU where measured:
  none      vessels of the embedded data
  residual  the same, with residual blocks
  folder    your own images, with masks of 0 and 255
  stare     vessels of STARE: 5 minutes, 0.811
  tiny      seconds, for tests
"""

from unet_jax import defaults, presets


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  config.task = 'binary'
  config.image_size = 256
  config.total_steps = 600
  config.data.classes = ('vessels',)
  config.data.masks.kind = 'binary'
  if arg == 'residual':
    config.model.name = 'residual'
  elif arg == 'folder':
    config.data.update(source='folder', classes=('foreground',))
  elif arg == 'stare':
    root = f'{presets.data_root()}/stare_vessels'
    config.data.update(source='folder', root=root)
  elif arg == 'tiny':
    presets.shrink(config)
  elif arg:
    raise presets.unknown_variant(arg, __file__)
  return config

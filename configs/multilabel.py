"""Four kinds of retinal lesion, or any classes that overlap.

  python -m unet_jax.main --config configs/multilabel.py[:VARIANT]

Variants:
  none       the embedded data
  folder     your own images, with a folder of masks for each class
  diaretdb1  the lesions of DIARETDB1, from a tenth of full agreement on
  soft       the same, with the experts' agreement as a probability
  tiny       seconds, for tests
"""

from unet_jax import defaults, presets

LESIONS = ('hemorrhages', 'redsmalldots', 'hardexudates', 'softexudates')


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  config.task = 'multilabel'
  config.data.masks.kind = 'folders'
  if arg != 'folder':
    config.data.classes = LESIONS
  if arg == 'folder':
    config.data.source = 'folder'
  elif arg in ('diaretdb1', 'soft'):
    root = f'{presets.data_root()}/diaretdb1_lesions'
    config.data.update(source='folder', root=root)
    # A majority vote would keep 1 in 40 red small dots.
    config.data.masks.threshold = 26
    config.data.masks.soft = 252 if arg == 'soft' else 0
    config.image_size = 256
    config.total_steps = 1000
  elif arg == 'tiny':
    presets.shrink(config)
  elif arg:
    raise presets.unknown_variant(arg, __file__)
  return config

"""Four kinds of retinal lesion, or any classes that overlap.

  python -m unet_jax.main --config configs/multilabel.py[:VARIANT]

Variants:
  none       the embedded data
  folder     your own images, with a folder of masks for each class
  diaretdb1  the lesions of DIARETDB1, from a tenth of full agreement on
  soft       likewise, with the experts' agreement as a probability
  tiny       seconds, for tests
"""

import os

from unet_jax import defaults

ROOT = os.environ.get('UNET_JAX_DATA', 'data')
LESIONS = ('hemorrhages', 'redsmalldots', 'hardexudates', 'softexudates')


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  config.task = 'multilabel'
  config.data.mask = 'folders'
  if arg != 'folder':
    config.data.classes = LESIONS
  if arg in ('folder', 'diaretdb1', 'soft'):
    config.data.source = 'folder'
  if arg in ('diaretdb1', 'soft'):
    config.data.root = f'{ROOT}/diaretdb1_lesions'
    config.data.threshold = 26  # A majority leaves 1 in 40 red small dots.
    config.data.soft = 252 if arg == 'soft' else 0
    config.image_size = 256
    config.total_steps = 1000
  elif arg == 'tiny':
    defaults.shrink(config)
  elif arg not in ('', 'folder'):
    raise ValueError(
      f'unknown variant {arg!r}: see the top of configs/multilabel.py'
    )
  return config

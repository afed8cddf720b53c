"""Red and bright retinal lesions, or any classes that exclude each other.

  python -m unet_jax.main --config configs/multiclass.py[:VARIANT]

Variants, with their time on 2 cores without a GPU and test macro F1:
  none       the embedded data: 2 minutes, 0.807
  folder     your own images, with index masks
  diaretdb1  red and bright lesions of DIARETDB1
  tutorial   likewise, augmented as a Keras tutorial on it does
  catdog     heads of cats and dogs
  tiny       seconds, for tests
"""

import os

from unet_jax import defaults

ROOT = os.environ.get('UNET_JAX_DATA', 'data')
LESIONS = dict(
  red_lesions=('hemorrhages', 'redsmalldots'),
  bright_lesions=('hardexudates', 'softexudates'),
)


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  if arg in ('', 'tiny', 'diaretdb1', 'tutorial'):
    config.data.update(mask='folders', classes=tuple(LESIONS), merge=LESIONS)
  if arg == 'folder':
    config.data.source = 'folder'
  elif arg in ('diaretdb1', 'tutorial'):
    config.data.update(source='folder', root=f'{ROOT}/diaretdb1_lesions')
    config.data.threshold = 26  # A tenth of full agreement, as the tutorial.
    config.image_size = 256
    config.total_steps = 1000
    if arg == 'tutorial':
      lesions = defaults.tutorial_augment(0.2, vertical_flip=True)
      config.augment.update(lesions)
  elif arg == 'catdog':
    config.data.update(source='folder', root=f'{ROOT}/catdog')
    config.data.update(classes=('cat', 'dog'), resize=256)
    config.image_size = 256
    # Heads are upright.
    config.augment.update(vertical_flip=False, quarter_turns=False)
    config.total_steps = 1000
  elif arg == 'tiny':
    defaults.shrink(config)
  elif arg:
    raise ValueError(f'unknown variant {arg!r} of configs/multiclass.py')
  return config

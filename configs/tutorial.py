"""The tutorial's three networks, trained as its notebooks do.

  python -m unet_jax.main --config configs/tutorial.py[:VARIANT]

Variants, all of grey images, with the network's parameters as Keras counts
them, moving statistics included:
  none     haemorrhages of DIARETDB1, 31,046,465
  vessels  of STARE, 31,047,557
  lesions  red and bright, of DIARETDB1, 3,111,139: "depth 3"

From S. Roychowdhury's notebooks "U-net_binary_DB1", "U-net_TF2_retinal_image_
segmentation_STARE" and "U-net_multi-class_DB1". Different here: images keep
their proportions, are of the green channel, and are normalised by mean and
deviation; the lesions' entropy is that of a softmax.
"""

import os

from unet_jax import defaults

ROOT = os.environ.get('UNET_JAX_DATA', 'data')


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  config.batch_size = 3
  config.image_size = config.data.resize = 512
  config.total_steps = 800
  config.model.update(width=64, dropout=0.5)
  config.optim.update(lr=1e-4, schedule='constant', warmup=0.0, ema=0.0)
  config.data.update(channels='green', foreground_share=0.0)
  lesions = dict(source='folder', root=f'{ROOT}/diaretdb1_lesions')
  lesions.update(mask='folders', threshold=26)
  if not arg:
    config.task, config.model.name = 'binary', 'tutorial'
    config.image_size = config.data.resize = 256
    config.data.update(lesions, classes=('hemorrhages',))
    config.loss.update(dice=0.0, ce=0.0, negative_dice=1.0, per_image=True)
    shift, vertical_flip = 0.1, False
  elif arg == 'vessels':
    config.task, config.model.name = 'binary', 'tutorial_vessels'
    config.model.dilated = 2
    config.data.update(source='folder', root=f'{ROOT}/stare_vessels')
    config.data.update(mask='binary', classes=('vessels',))
    config.loss.dice = 0.0
    shift, vertical_flip = 0.05, False
  elif arg == 'lesions':
    config.model.update(name='tutorial_lesions', depth=3, width=32)
    classes = defaults.LESIONS
    config.data.update(lesions, classes=tuple(classes), merge=classes)
    config.loss.dice = 0.0
    shift, vertical_flip = 0.2, True
  else:
    raise ValueError(
      f'unknown variant {arg!r}: see the top of configs/tutorial.py'
    )
  config.augment.update(
    defaults.tutorial_augment(shift, vertical_flip=vertical_flip)
  )
  return config

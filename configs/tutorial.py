"""The tutorial's three networks, trained as in its notebooks.

  python -m unet_jax.main --config configs/tutorial.py[:VARIANT]

Variants, all of grey images, with the network's parameters as Keras counts
them, moving statistics included:
  none     haemorrhages of DIARETDB1, 31,046,465
  vessels  vessels of STARE, 31,047,557
  lesions  red and bright lesions of DIARETDB1, 3,111,139: "depth 3"

From S. Roychowdhury's notebooks "U-net_binary_DB1", "U-net_TF2_retinal_image_
segmentation_STARE" and "U-net_multi-class_DB1". Differences: images keep
their proportions, have the green channel only, and are normalised by mean and
standard deviation; the cross entropy of the lesions is that of a softmax.
"""

from unet_jax import defaults, presets


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  root = presets.data_root()
  config.batch_size = 3
  config.image_size = config.data.resize = 512
  config.total_steps = 800
  config.model.update(width=64, dropout=0.5)
  config.optim.update(lr=1e-4, schedule='constant', warmup=0.0, ema=0.0)
  config.data.update(channels='green', foreground_share=0.0)
  lesions = dict(source='folder', root=f'{root}/diaretdb1_lesions')
  lesions.update(masks=dict(kind='folders', threshold=26))
  if not arg:
    config.task, config.model.name = 'binary', 'tutorial'
    config.image_size = config.data.resize = 256
    config.data.update(lesions, classes=('hemorrhages',))
    config.loss.update(dice=0.0, ce=0.0, negative_dice=1.0, per_image=True)
    config.augment.update(augment(shift=0.1, vertical_flip=False))
  elif arg == 'vessels':
    config.task, config.model.name = 'binary', 'tutorial_vessels'
    config.model.dilated = 2
    config.data.update(source='folder', root=f'{root}/stare_vessels')
    config.data.classes = ('vessels',)
    config.data.masks.kind = 'binary'
    config.loss.dice = 0.0
    config.augment.update(augment(shift=0.05, vertical_flip=False))
  elif arg == 'lesions':
    config.model.update(name='tutorial_lesions', depth=3, width=32)
    classes = presets.LESIONS
    config.data.update(lesions, classes=tuple(classes))
    config.data.masks.merge = classes
    config.loss.dice = 0.0
    config.augment.update(augment(shift=0.2, vertical_flip=True))
  else:
    raise presets.unknown_variant(arg, __file__)
  return config


def augment(*, shift: float, vertical_flip: bool) -> dict:
  """Returns `config.augment` with the data_gen_args of the notebooks.

  Ranges of rotation and shear are in degrees, as in Keras, so these hardly
  rotate or shear. See github.com/sohiniroych:
  U-net-for-Multi-class-semantic-segmentation (lesions) and Unet-using-TF2
  (vessels).
  """
  return dict(
    horizontal_flip=True,
    vertical_flip=vertical_flip,
    quarter_turns=False,
    rotation_range=0.3,
    width_shift_range=shift,
    height_shift_range=shift,
    shear_range=0.1,
    zoom_range=(0.7, 1.0),
    brightness=0.0,
    contrast=0.0,
  )

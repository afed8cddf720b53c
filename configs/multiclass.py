"""Red and bright retinal lesions, or any classes that exclude each other.

  python -m unet_jax.main --config configs/multiclass.py[:VARIANT]

Variants, with their time on 2 cores without a GPU and test macro F1:
  none       the embedded data: 2 minutes, 0.807
  folder     your own images, with index masks
  diaretdb1  red and bright lesions of DIARETDB1
  catdog     heads of cats and dogs
  tiny       seconds, for tests
"""

import os

import ml_collections

ROOT = os.environ.get('UNET_JAX_DATA', 'data')


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.task = 'multiclass'  # binary | multiclass | multilabel
  config.precision = 'auto'  # auto | float32 | bfloat16, for computing
  config.engine = 'auto'  # Of convolutions: auto | native | rewritten | xla
  config.batch_size = 8  # Images a step, over all devices.
  config.image_size = 128  # Side of the random square crop to train on.
  config.total_steps = 400
  config.eval_every = 100  # Steps.
  config.save_every = 100  # Steps.

  config.data = dict(
    source='synthetic_fundus',  # synthetic_fundus | folder | tfds
    name='',  # Of the TFDS data set.
    root='',  # Folder of the images, or of TFDS' data sets.
    # binary: 0 and 255 | index | folders: one a class; the embedded set has
    # folders whatever stands here.
    mask='folders',
    classes=('red_lesions', 'bright_lesions'),  # Foreground; () finds them.
    # A class may be the union of several mask folders.
    merge=dict(
      red_lesions=('hemorrhages', 'redsmalldots'),
      bright_lesions=('hardexudates', 'softexudates'),
    ),
    threshold=128,  # A value of a mask folder's file from here on counts.
    resize=0,  # Longer side in pixels that images are scaled to; 0: not.
    val_share=0.0,  # Share of train held back where there is no val split.
  )
  config.augment = dict(
    flip=True,
    turn=True,  # By quarter turns.
    rotate=15.0,  # Degrees to either side.
    zoom=0.1,  # Share of the size, larger or smaller.
    shift=0.05,  # Share of the side.
    brightness=0.1,  # Share of the value range, to either side.
    contrast=0.2,  # Share, more or less.
  )
  config.model = dict(
    depth=4,
    width=16,
    norm='batch',  # batch | group | none
    remat=0,  # Levels, from the top, that trade a third more time for memory.
  )
  config.loss = dict(
    name='dice_ce',  # dice | ce | dice_ce, their sum
    per_image=False,  # Dice of each image, or of the batch as one.
    smooth=1.0,  # Pixels added to both parts of Dice's fraction.
  )
  # Warm-up is a share of the steps; ema 0 turns weight averaging off.
  config.optim = dict(lr=2e-3, warmup=0.1, ema=0.98)

  if arg == 'folder':
    config.data.update(source='folder', mask='index', classes=())
    config.data.merge = {}
  elif arg == 'diaretdb1':
    config.data.update(source='folder', root=f'{ROOT}/diaretdb1_lesions')
    config.data.threshold = 26  # A tenth of full agreement, as the tutorial.
    config.image_size = 256
    config.total_steps = 1000
  elif arg == 'catdog':
    config.data.update(source='folder', root=f'{ROOT}/catdog', mask='index')
    config.data.update(classes=('cat', 'dog'), resize=256)
    config.data.merge = {}
    config.image_size = 256
    config.augment.turn = False  # Heads are upright.
    config.total_steps = 1000
  elif arg == 'tiny':
    config.batch_size, config.image_size = 4, 64
    config.total_steps, config.eval_every, config.save_every = 4, 2, 2
    config.model.update(depth=2, width=4)
  elif arg:
    raise ValueError(f'unknown variant {arg!r} of configs/multiclass.py')
  return config

"""Every key of a config, with its unit and its usual value.

A file in configs/ starts from these and sets what differs.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Returns the defaults; `config.check` has the values that a key may take."""
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
    mask='index',
    classes=(),  # Foreground; () finds them.
    merge={},  # Class -> the mask folders whose union it is.
    threshold=128,  # A value of a mask folder's file from here on counts.
    resize=0,  # Longer side in pixels that images are scaled to; 0: not.
    val_share=0.0,  # Share of train held back where there is no val split.
    channels='all',  # all | green, the best one of a retina's photograph.
    # Share of the crops that are about a pixel of a class, rare ones as often.
    foreground_share=0.5,
  )
  # Names and units of Keras' ImageDataGenerator, and more; 0 does without.
  config.augment = dict(
    horizontal_flip=True,
    vertical_flip=True,
    quarter_turns=True,
    rotation_range=15.0,  # Degrees to either side.
    width_shift_range=0.05,  # Share of image_size, to either side.
    height_shift_range=0.05,
    shear_range=0.0,  # Degrees to either side.
    zoom_range=(0.9, 1.1),  # Of what is looked at: below 1, things grow.
    elastic=0.0,  # Pixels that a point is moved at most.
    brightness=0.1,  # Share of the value range, to either side.
    contrast=0.2,  # Share, more or less.
    gamma=0.0,  # The exponent is from 1 / (1 + gamma) to 1 + gamma.
    color=0.0,  # Share, more or less, of each channel.
    blur=0.0,  # Standard deviation at most, pixels.
    noise=0.0,  # Standard deviation at most, share of the value range.
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
  config.optim = dict(
    lr=2e-3,
    warmup=0.1,  # Share of the steps.
    ema=0.98,  # Decay of the averaged weights; 0 averages none.
  )
  return config


def tutorial_augment(shift: float, *, vertical_flip: bool) -> dict:
  """Returns `augment` as a well-known Keras tutorial on DIARETDB1 sets it.

  Its rotation_range and shear_range are in degrees, as in Keras, and so hardly
  turn or shear at all. See data_gen_args in the notebooks of
  github.com/sohiniroych: U-net-for-Multi-class-semantic-segmentation (lesions:
  shift 0.2, both flips) and Unet-using-TF2 (vessels of STARE: 0.05, one flip).
  """
  nothing = dict.fromkeys(
    ('elastic', 'brightness', 'contrast', 'gamma', 'color', 'blur', 'noise'),
    0.0,
  )
  return nothing | dict(
    horizontal_flip=True,
    vertical_flip=vertical_flip,
    quarter_turns=False,
    rotation_range=0.3,
    width_shift_range=shift,
    height_shift_range=shift,
    shear_range=0.1,
    zoom_range=(0.7, 1.0),
  )


def shrink(config: ml_collections.ConfigDict) -> None:
  """Makes a run of seconds, for tests: a few steps of a tiny model."""
  config.batch_size, config.image_size = 4, 64
  config.total_steps, config.eval_every, config.save_every = 4, 2, 2
  config.model.update(depth=2, width=4)

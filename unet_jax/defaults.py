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
    # binary: 0 and 255 | index | color | folders: one a class, GT/CLASS |
    # planes: .npy, [H, W, K]. The embedded set has folders in any case.
    mask='index',
    classes=(),  # Foreground; () finds them.
    background='background',  # '': each pixel is of a class, the first one 0.
    # Class -> the mask folders whose union it is, or its values in the masks:
    # numbers of index masks and planes, colours '#rrggbb'.
    merge={},
    void=(),  # Such folders, numbers or colours that count nowhere.
    # A mask folder's value from here on counts. Of the 0 to 252 of DIARETDB1's
    # four experts, 126 is a majority and 26 the tutorial's tenth.
    threshold=128,
    soft=0,  # Value that means 1 where labels are probabilities; 0: threshold.
    missing='error',  # error | absent: without its mask file a class is absent.
    fov='',  # Folder of masks of the field of view, or: estimate.
    resize=0,  # Longer side in pixels that images are scaled to; 0: not.
    train='',  # Names 'a, b' and ranges 'a-k' in a folder; '': as lists say.
    val='',
    test='',
    val_share=0.0,  # Share of train held back where there is no val split.
    group='',  # Images of a patient: a regex whose first group is the patient,
    # or FILE.csv:COLUMN with names in its first column. They stay together.
    folds=0,  # Into which all but test is dealt; `fold` is then val. 0: none.
    fold=0,
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
  config.optim = dict(
    lr=2e-3,
    warmup=0.1,  # Share of the steps.
    ema=0.98,  # Decay of the averaged weights; 0 averages none.
  )
  return config


def shrink(config: ml_collections.ConfigDict) -> None:
  """Makes a run of seconds, for tests: a few steps of a tiny model."""
  config.batch_size, config.image_size = 4, 64
  config.total_steps, config.eval_every, config.save_every = 4, 2, 2
  config.model.update(depth=2, width=4)

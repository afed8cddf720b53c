"""Every key of a config, with its unit and its usual value.

A file in configs/ starts from these and sets what differs.
"""

import ml_collections

# DIARETDB1's mask folders, as the tutorial merges them.
LESIONS = dict(
  red_lesions=('hemorrhages', 'redsmalldots'),
  bright_lesions=('hardexudates', 'softexudates'),
)


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
  config.early_stop = 0  # Evaluations without a new best that end it; 0: none.

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
    # Folder of maps of how much each pixel counts in the training loss, in all
    # its terms: NAME.npy, float [H, W] from 0, or grey NAME.png, white is 1.
    weights='',
    resize=0,  # Longer side in pixels that images are scaled to; 0: not.
    train='',  # Names 'a, b' and ranges 'a-k' in a folder; '': as lists say.
    val='',
    test='',
    val_share=0.0,  # Share of train held back where there is no val split.
    group='',  # Images of a patient: a regex whose first group is the patient,
    # or FILE.csv:COLUMN with names in its first column. They stay together.
    folds=0,  # Into which all but test is dealt; `fold` is then val. 0: none.
    fold=0,
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
    # unet | residual, its blocks add to what comes in | tutorial,
    # tutorial_vessels, tutorial_lesions: see configs/tutorial.py
    name='unet',
    depth=4,
    width=16,
    norm='batch',  # batch | group | none; tutorial's is batch
    dilated=0,  # Levels, from the top, with taps 2 pixels apart going down.
    dropout=0.0,  # Share of features dropped where the way down ends.
    # Levels, from the top, that trade a third more time for memory; not for
    # tutorial.
    remat=0,
  )
  config.loss = dict(
    # Weights of the terms that are summed; at 0 a term is not computed.
    dice=1.0,
    negative_dice=0.0,  # The tutorial's: all planes as one, from 0 to -1.
    generalised_dice=0.0,  # Small and large classes count alike.
    tversky=0.0,  # Dice that tells missed pixels from those too many.
    cldice=0.0,  # Of centre lines, for vessels.
    ce=1.0,  # Cross entropy.
    focal=0.0,  # Cross entropy of what is still predicted badly.
    # How the terms count.
    per_image=False,  # All but ce and focal: each image, or the batch as one.
    background=False,  # Multiclass: whether it is a class to them as well.
    smooth=1.0,  # Pixels added to both parts of their fractions.
    beta=0.7,  # Tversky's cost of a missed pixel; one too many costs the rest.
    tversky_gamma=1.0,  # 4/3 makes it the focal Tversky loss.
    radius=5,  # Pixels: half the widest vessel, for clDice.
    gamma=2.0,  # How strongly focal turns to what is predicted badly.
    class_weights='none',  # none | inverse | median frequency, of ce and focal
  )
  config.optim = dict(
    name='adam',  # adam | adamw | sgd, with Nesterov's momentum of 0.9
    lr=2e-3,
    schedule='cosine',  # cosine, to 0 | constant | step, to 1/10 and 1/100
    warmup=0.1,  # Share of the steps.
    weight_decay=0.0,  # Of adamw: share of a kernel, times lr, a step.
    clip=0.0,  # Largest norm of the gradients; 0: any.
    accumulate=1,  # Turns in which a device takes its images: less memory.
    ema=0.98,  # Decay of the averaged weights; 0 averages none.
  )
  config.transfer = dict(  # Of a run that starts with --init_from.
    # Class -> the other run's that its plane comes from, or ''. Those of one
    # name needn't be here; any others start fresh.
    classes={},
    resize='never',  # never | corner: where widths differ, what both have
    batch_stats='keep',  # keep | reestimate: on the new images, before step 1
    # Parts that stay: encoder, bottleneck, decoder, norms, head, or down0 etc.
    freeze=(),
    unfreeze=0.0,  # Share of the steps until all train, the last first; 0: no.
    lr_decay=1.0,  # Of the learning rate, a level further from the head.
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

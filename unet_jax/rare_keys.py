"""The keys of a config that few runs set; `defaults` has the others."""

from unet_jax.knob import (
  COUNT,
  NOT_NEGATIVE,
  POSITIVE,
  SHARE,
  choice,
  free,
  number,
)

NOTE = (
  'Augmentations have the names and units of the ImageDataGenerator of Keras: '
  'each value is the greatest change in either direction. A loss with weight 0 '
  'is not computed; the settings of a loss begin with its name. The group '
  '`transfer` is for runs with `--init_from`.'
)
KEYS = {
  'seed': number(0, (0, 2**31 - 1), 'Seed of all random choices.'),
  'precision': choice(
    ('auto', 'float32', 'bfloat16'),
    'Type of computations; auto takes bfloat16 where it is faster.',
  ),
  'engine': choice(
    ('auto', 'native', 'rewritten', 'xla'), 'Implementation of convolutions.'
  ),
  'input': choice(
    ('auto', 'host', 'device'),
    'Where training images lie and crops are cut; auto takes the device if it '
    'is a GPU with room for them.',
  ),
  'window': number(
    0,
    (0, 2**15),
    'Side in pixels of the windows in which images are evaluated and '
    'predicted, a multiple of twice 2^depth. An image that does not fit is '
    'blended from windows that overlap by half; with model.norm=group each '
    'window has its own statistics. 0: the smallest multiple of 64, from 256 '
    'to 1024, that holds the images of train and val.',
  ),
  'early_stop': number(
    0, (0, 2**31 - 1), 'Evaluations without a new best that end a run; 0: none.'
  ),
  'data.name': free('', 'Name of the TFDS data set.'),
  'data.masks.soft': number(
    0, (0, 255), 'Mask value that is probability 1; 0: masks are thresholded.'
  ),
  'data.masks.missing': choice(
    ('error', 'absent'),
    'What an image without a mask file means: an error, or no class.',
  ),
  'data.fov': free(
    '', "Folder of masks of the field of view, or 'estimate' to estimate them."
  ),
  'data.weights': free(
    '',
    'Folder of maps that weight each pixel in every term of the loss: '
    'NAME.npy, float [H, W], 0 or more; or grey NAME.png, where white is 1.',
  ),
  'data.split.train': free(
    '', "Names 'a, b' or ranges 'a-k' of a folder; '' reads its lists."
  ),
  'data.split.val': free('', 'Like `data.split.train`.'),
  'data.split.test': free('', 'Like `data.split.train`.'),
  'data.split.group': free(
    '',
    'The patient of an image, so that each patient stays in one split: a '
    'regular expression whose first group is the patient, or FILE.csv:COLUMN '
    'with names of images in its first column.',
  ),
  'data.split.folds': number(
    0, (0, 100), 'Number of folds of all images but test; 0: none.'
  ),
  'data.split.fold': number(0, (0, 99), 'Index of the fold that is val.'),
  'data.channels': choice(
    ('all', 'green'),
    'All channels, or green, the best one in photographs of a retina.',
  ),
  'data.bits': choice(
    ('stored', '8'),
    'Images of 16 bits keep them, or only the upper 8, which take half the '
    'memory. Runs of an earlier version kept 8.',
  ),
  'data.pages': choice(
    ('refuse', 'channels'),
    'A TIFF with pages that no metadata explains is refused, or its pages are '
    'channels.',
  ),
  'data.normalise': choice(
    ('dataset', 'image', 'percentile'),
    'Images are shifted and divided by the mean and deviation of the training '
    'images, or of each image, or so that its percentiles 0.5 and 99.5 become '
    '0 and 1.',
  ),
  'data.foreground_share': number(
    0.5,
    SHARE,
    'Share of crops around a pixel of a class; all classes are equally likely.',
  ),
  'augment.horizontal_flip': free(True, 'Mirror left and right at random.'),
  'augment.rotation_range': number(15.0, (0.0, 180.0), 'Degrees.'),
  'augment.width_shift_range': number(0.05, SHARE, 'Share of the side.'),
  'augment.height_shift_range': number(0.05, SHARE, 'Share of the side.'),
  'augment.shear_range': number(0.0, (0.0, 60.0), 'Degrees.'),
  'augment.zoom_range': free(
    (0.9, 1.1), 'Scales of the sampled region; those below 1 magnify.'
  ),
  'augment.elastic': number(0.0, NOT_NEGATIVE, 'Shift of grid points, pixels.'),
  'augment.brightness': number(
    0.1, SHARE, 'Share of the way from black to white.'
  ),
  'augment.contrast': number(0.2, SHARE, 'Share of the contrast.'),
  'augment.gamma': number(
    0.0, (0.0, 9.0), 'The exponent is from 1 / (1 + gamma) to 1 + gamma.'
  ),
  'augment.color': number(0.0, SHARE, 'Share of each channel.'),
  'augment.blur': number(0.0, (0.0, 16.0), 'Standard deviation, pixels.'),
  'augment.noise': number(
    0.0, SHARE, 'Standard deviation, share of the way from black to white.'
  ),
  'model.depth': number(4, (1, 10), 'Times that the resolution is halved.'),
  'model.norm': choice(('batch', 'group', 'none'), 'Normalisation.'),
  'model.dilated': number(
    0, (0, 10), 'Levels of the encoder, from the top, with dilation 2.'
  ),
  'model.dropout': number(0.0, (0.0, 0.95), 'Dropout rate at the bottleneck.'),
  'model.remat': number(
    0,
    (0, 11),
    'Levels, from the top, recomputed in the backward pass to save memory.',
  ),
  'loss.negative_dice': number(
    0.0, NOT_NEGATIVE, "The tutorial's Dice: all planes as one, from 0 to -1."
  ),
  'loss.generalised_dice': number(
    0.0, NOT_NEGATIVE, 'Dice in which small and large classes count alike.'
  ),
  'loss.tversky': number(
    0.0,
    NOT_NEGATIVE,
    'Tversky loss: Dice that weights false negatives against positives.',
  ),
  'loss.tversky_beta': number(
    0.7, SHARE, 'Weight of a false negative; a false positive has 1 - beta.'
  ),
  'loss.tversky_gamma': number(1.0, (1.0, 3.0), '4/3: focal Tversky loss.'),
  'loss.cldice': number(0.0, NOT_NEGATIVE, 'Dice of centre lines (clDice).'),
  'loss.cldice_radius': number(5, (1, 100), 'Half the widest vessel, pixels.'),
  'loss.focal': number(
    0.0,
    NOT_NEGATIVE,
    'Focal loss: cross entropy that favours badly predicted pixels.',
  ),
  'loss.focal_gamma': number(
    2.0,
    (0.0, 10.0),
    'How strongly the focal loss favours badly predicted pixels.',
  ),
  'loss.per_image': free(
    False, 'Whether all terms but ce and focal are per image, not per batch.'
  ),
  'loss.background': free(
    False, 'Whether the background of multiclass is a class of these terms.'
  ),
  'loss.smooth': number(
    1.0, POSITIVE, 'Pixels added to numerator and denominator of these terms.'
  ),
  'optim.name': choice(
    ('adam', 'adamw', 'sgd'), 'Optimizer; sgd has a Nesterov momentum of 0.9.'
  ),
  'optim.schedule': choice(
    ('cosine', 'constant', 'step'),
    'The learning rate falls to 0, stays, or falls to 1/10 and 1/100.',
  ),
  'optim.schedule_steps': number(
    0,
    (0, COUNT[1]),
    'Steps by which the learning rate changes and parts are unfrozen; 0: '
    '`total_steps`. A run that is continued keeps those it began with. In '
    'later steps constant and step stay where they are, and cosine begins anew '
    'at a tenth of lr and falls to 0 at the end.',
  ),
  'optim.warmup': number(
    0.1, SHARE, 'Share of these steps in which the learning rate rises.'
  ),
  'optim.weight_decay': number(
    0.0, SHARE, 'Share of a kernel, times the learning rate, per step of adamw.'
  ),
  'optim.clip': number(0.0, NOT_NEGATIVE, 'Largest gradient norm; 0: any.'),
  'optim.accumulate': number(
    1, (1, 2**20), 'Micro-batches per step on each device, to save memory.'
  ),
  'optim.ema': number(
    0.98, (0.0, 1.0 - 1e-9), 'Decay of the averaged weights; 0 averages none.'
  ),
  'transfer.classes': free(
    {},
    'Class -> class of the --init_from run whose plane of the head it copies. '
    "Equal names need no entry; '' and all other classes start at random.",
    entry=str,
  ),
  'transfer.batch_stats': choice(
    ('keep', 'reestimate'),
    'Keep the running statistics, or estimate them again before step 1.',
  ),
  'transfer.freeze': free(
    (),
    'Parts that keep their weights: encoder, bottleneck, decoder, norms, head, '
    'or single ones, such as down0.',
  ),
  'transfer.unfreeze': number(
    0.0,
    SHARE,
    'Share of the steps after which all parts train, the last first; 0: never.',
  ),
  'transfer.lr_decay': number(
    1.0, (POSITIVE[0], 1.0), 'Factor on lr per level away from the head.'
  ),
}

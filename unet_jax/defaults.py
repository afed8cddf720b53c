"""Every key of a config: its default, its allowed values, and its meaning.

A file in configs/ starts from `get_config()` and sets the keys that differ.
"""

import ml_collections

from unet_jax import rare_keys
from unet_jax.knob import (
  COUNT,
  NOT_NEGATIVE,
  POSITIVE,
  choice,
  free,
  number,
  unflatten,
)

# Common settings.
MAIN = {
  'task': choice(
    ('multiclass', 'binary', 'multilabel'),
    'Classes that exclude each other, one class, or classes that overlap.',
  ),
  'data.source': choice(
    ('synthetic_fundus', 'folder', 'tfds'),
    'The embedded drawings, a folder of images, or a TFDS data set.',
  ),
  'data.root': free('', 'Folder that holds images/, or the TFDS data sets.'),
  'data.classes': free((), 'Foreground classes; () reads them from the data.'),
  'data.background': free(
    'background', "Name of the background; '': every pixel has a class."
  ),
  'data.masks.kind': choice(
    ('index', 'binary', 'color', 'folders', 'planes'),
    'How masks are stored: class indices; 0 and 255; colours; a folder per '
    'class, GT/CLASS; NAME.npy, [H, W, K]. The embedded set has folders.',
  ),
  'data.masks.merge': free(
    {},
    'Class -> tuple of what it is the union of: mask folders, values of index '
    "masks, numbers of planes, or colours '#rrggbb'.",
    entry=tuple,
  ),
  'data.masks.void': free(
    (), 'Mask folders, values or colours whose pixels are void.'
  ),
  'data.masks.threshold': number(
    128,
    (1, 255),
    'Least value of a pixel that has the class, in folders of masks and float '
    "planes. DIARETDB1's four experts add up to 252: 126 is a majority, and 26 "
    "the tutorial's tenth.",
  ),
  'data.resize': number(
    0, (0, 2**15), 'Longer side in pixels after scaling; 0 scales nothing.'
  ),
  'data.split.val_share': number(
    -1.0,
    (-1.0, 0.9),
    'Share of train that becomes val if there is no val. 0 holds nothing back; '
    '-1 holds back a fifth where there are no lists or ranges.',
  ),
  'image_size': number(128, (1, 2**15), 'Side in pixels of the random crops.'),
  'batch_size': number(8, (1, 2**20), 'Images per step, over all devices.'),
  'total_steps': number(400, COUNT, 'Steps of training.'),
  'eval_every': number(100, COUNT, 'Steps between evaluations on val.'),
  'save_every': number(100, COUNT, 'Steps between checkpoints.'),
  'augment.vertical_flip': free(True, 'Mirror up and down at random.'),
  'augment.quarter_turns': free(True, 'Rotate by 0, 90, 180 or 270 degrees.'),
  'model.name': choice(
    ('unet', 'residual', 'tutorial', 'tutorial_vessels', 'tutorial_lesions'),
    'A U-Net, plain or of residual blocks, or those of `configs/tutorial.py`.',
  ),
  'model.width': number(
    16, (1, 4096), 'Channels at full resolution; each level down doubles them.'
  ),
  'loss.dice': number(1.0, NOT_NEGATIVE, 'Weight of soft Dice.'),
  'loss.ce': number(1.0, NOT_NEGATIVE, 'Weight of cross entropy.'),
  'loss.class_weights': choice(
    ('none', 'inverse', 'median'),
    'Class weights of ce and focal, by inverse or by median frequency.',
  ),
  'optim.lr': number(2e-3, POSITIVE, 'Learning rate after warm-up.'),
}

KEYS = MAIN | rare_keys.KEYS


def get_config() -> ml_collections.ConfigDict:
  """Returns a config with every key at its default."""
  return unflatten({key: knob.value for key, knob in KEYS.items()})

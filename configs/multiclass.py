"""Red and bright retinal lesions, or any classes that exclude each other.

  python -m unet_jax.main --config configs/multiclass.py[:VARIANT]

Variants, with time and test macro F1 on 2 cores without a GPU where measured:
  none       the embedded data: 1.5 minutes, 0.816
  folder     your own images, with index masks
  diaretdb1  red and bright lesions of DIARETDB1: 2.5 minutes, 0.199
  catdog     heads of cats and dogs
  camvid     roads of CamVid, 11 classes without a background
  tiny       seconds, for tests
"""

from unet_jax import defaults, presets

STREET = (
  *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence'),
  *('car', 'pedestrian', 'bicyclist'),
)


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  root = presets.data_root()
  if arg in ('', 'tiny', 'diaretdb1'):
    lesions = presets.LESIONS
    config.data.classes = tuple(lesions)
    config.data.masks.update(kind='folders', merge=lesions)
  if arg == 'folder':
    config.data.source = 'folder'
  elif arg == 'diaretdb1':
    config.data.update(source='folder', root=f'{root}/diaretdb1_lesions')
    # A tenth of full agreement, as in the tutorial.
    config.data.masks.threshold = 26
    # Outlines are rough and wide: a crop must show their surroundings.
    config.data.resize = 256
    # Without class weights no pixel is predicted red; see docs/augmentation.md.
    config.loss.class_weights = 'inverse'
    config.total_steps = 1000
  elif arg == 'catdog':
    config.data.update(source='folder', root=f'{root}/catdog')
    config.data.update(classes=('cat', 'dog'), resize=256)
    config.image_size = 256
    # Heads are upright.
    config.augment.update(vertical_flip=False, quarter_turns=False)
    config.total_steps = 1000
  elif arg == 'camvid':
    config.data.update(source='folder', root=f'{root}/camvid')
    # Every pixel has a class or is void, so sky is not the background.
    config.data.update(classes=STREET, background='')
    config.data.masks.void = (11,)
    config.image_size = 256
    config.augment.update(vertical_flip=False, quarter_turns=False)
    config.total_steps = 2000
  elif arg == 'tiny':
    presets.shrink(config)
  elif arg:
    raise presets.unknown_variant(arg, __file__)
  return config

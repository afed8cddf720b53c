"""Lesions, by a model that starts from vessels and by one from random weights.

  python -m unet_jax.compare --workdir runs/transfer \\
    --source configs/transfer.py:vessels --config configs/transfer.py
  python -m unet_jax.compare --workdir runs/transfer-real \\
    --source configs/transfer.py:stare --config configs/transfer.py:diaretdb1

docs/transfer.md has the scores. Variants:
  none       lesions of the embedded data
  vessels    vessels of the embedded data, to start from
  diaretdb1  lesions of DIARETDB1
  stare      vessels of STARE, to start from
  tiny       seconds, for tests
"""

from unet_jax import defaults, presets


def get_config(arg=''):
  """Returns the configuration of one run; `arg` is the variant's name."""
  config = defaults.get_config()
  root = presets.data_root()
  if arg in ('vessels', 'stare'):
    config.task = 'binary'
    config.data.classes = ('vessels',)
    config.data.masks.kind = 'binary'
  else:
    lesions = presets.LESIONS
    config.data.classes = tuple(lesions)
    config.data.masks.update(kind='folders', merge=lesions)
    # The head starts at random: this scored 0.43 after 50 of 100 steps, and
    # transfer.classes = {'red_lesions': 'vessels'} scored 0.31.
    config.total_steps = 200
    config.eval_every = config.save_every = 20
  if arg in ('stare', 'diaretdb1'):
    # A quarter of train selects the weights; the test images stay unused.
    config.data.source = 'folder'
    config.data.split.val_share = 0.25
  if arg == 'stare':
    config.data.root = f'{root}/stare_vessels'
  elif arg == 'diaretdb1':  # Like configs/multiclass.py:diaretdb1.
    config.data.update(root=f'{root}/diaretdb1_lesions', resize=256)
    config.data.masks.threshold = 26
    config.loss.class_weights = 'inverse'
  elif arg == 'tiny':
    presets.shrink(config)
  elif arg not in ('', 'vessels'):
    raise presets.unknown_variant(arg, __file__)
  return config

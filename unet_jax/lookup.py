"""Finds the keys that a word may mean, and describes keys.

`python -m unet_jax.lookup > docs/config.md` writes the page of all keys.
"""

import difflib
import textwrap
from collections.abc import Iterable

from unet_jax import defaults, rare_keys
from unet_jax import knob as knob_lib

# Key -> words of other programs that mean it.
SYNONYMS = {
  'augment.brightness': 'jitter',
  'augment.color': 'hue jitter saturation',
  'augment.height_shift_range': 'shift translate',
  'augment.horizontal_flip': 'flip hflip mirror',
  'augment.quarter_turns': 'rotate rotation',
  'augment.rotation_range': 'degrees rotate rotation',
  'augment.vertical_flip': 'flip mirror vflip',
  'augment.width_shift_range': 'shift translate',
  'augment.zoom_range': 'scale zoom',
  'batch_size': 'batch batchsize bs',
  'data.channels': 'grayscale in_channels num_channels',
  'data.classes': 'class_names labels n_classes num_classes',
  'data.masks.kind': 'mask_kind mask_type',
  'data.masks.void': 'ignore ignore_index ignore_label',
  'data.resize': 'longer_side max_size rescale resize_to',
  'data.root': 'data_dir data_path dataset folder images path',
  'data.split.folds': 'cv kfold n_folds num_folds',
  'data.split.group': 'group_by patient',
  'data.split.val_share': 'val_fraction val_split validation_split',
  'early_stop': 'early_stopping patience',
  'eval_every': 'eval_interval val_every val_interval',
  'image_size': 'crop crop_size img_size input_size patch patch_size tile_size',
  'loss.ce': 'bce cross_entropy crossentropy',
  'loss.class_weights': 'class_weight weight',
  'loss.dice': 'dice_loss dice_weight',
  'model.depth': 'layers levels',
  'model.name': 'arch architecture backbone net network',
  'model.norm': 'batch_norm batchnorm normalisation normalization',
  'model.remat': 'checkpointing gradient_checkpointing',
  'model.width': 'base_channels features filters start_filters',
  'optim.accumulate': 'grad_accum gradient_accumulation',
  'optim.clip': 'clip_norm grad_clip gradient_clipping max_norm',
  'optim.ema': 'ema_decay',
  'optim.lr': 'alpha eta learning_rate lrate',
  'optim.name': 'optimiser optimizer',
  'optim.schedule': 'lr_schedule scheduler',
  'optim.warmup': 'warmup_steps',
  'optim.weight_decay': 'l2 wd',
  'precision': 'amp bf16 dtype fp16 half mixed_precision',
  'save_every': 'checkpoint_every save_interval',
  'seed': 'random_seed random_state',
  'total_steps': 'epochs iterations max_steps num_epochs num_steps steps',
}


def nearest(word: str) -> list[str]:
  """Returns the keys that a wrong key may mean, at most three.

  Args:
    word: such as 'learning_rate', 'optim.learning_rate' or 'optim.lrr'.
  """
  word = word.lower().replace('-', '_')
  last = word.rpartition('.')[-1]
  same = [key for key in defaults.KEYS if key.rpartition('.')[-1] == last]
  meant = [key for key, words in SYNONYMS.items() if last in words.split()]
  if same or meant:
    return (same or meant)[:3]
  last_parts = {key.rpartition('.')[-1]: key for key in defaults.KEYS}
  alike = difflib.get_close_matches(word, defaults.KEYS, n=1, cutoff=0.7)
  alike += [
    last_parts[part]
    for part in difflib.get_close_matches(last, last_parts, n=1, cutoff=0.7)
  ]
  return list(dict.fromkeys(alike))[:3]


def search(word: str) -> list[str]:
  """Returns the keys whose name, meaning or synonyms contain a word."""
  word = word.lower()
  return [
    key
    for key, knob in defaults.KEYS.items()
    if word in f'{key} {knob.meaning} {SYNONYMS.get(key, "")}'.lower()
  ]


def describe(keys: Iterable[str]) -> str:
  """Returns two or more lines for each key: its default, and its meaning."""
  blocks = []
  for key in keys:
    knob = defaults.KEYS[key]
    text = f'{knob.meaning} Must be {knob_lib.requirement(knob)}.'
    blocks.append(f'  {key} = {knob.value!r}')
    blocks += textwrap.wrap(
      text.replace('`', ''), 74, initial_indent='    ', subsequent_indent='    '
    )
  return '\n'.join(blocks)


def reference() -> str:
  """Returns docs/config.md, the page of all keys."""
  return '\n\n'.join(
    [
      '# Every key of a config',
      'Generated from `defaults.py` and `rare_keys.py` by `python -m '
      'unet_jax.lookup > docs/config.md`. On the command line a key is a flag, '
      'such as `--config.optim.lr=3e-4`. A tuple needs no quotes: '
      '`--config.data.classes=cat,dog`. An entry of a dict is a flag of its '
      'own, `--config.transfer.classes.red_lesions=vessels`, and leaves the '
      'other entries. `unet-jax keys WORD` finds keys, also by the names that '
      'other programs give them.',
      '## Common settings',
      _table(defaults.MAIN),
      '## Rare settings',
      rare_keys.NOTE,
      _table(rare_keys.KEYS),
    ]
  )


def _table(knobs: dict[str, knob_lib.Knob]) -> str:
  rows = [
    '| key | default | must be | meaning |',
    '| --- | --- | --- | --- |',
  ]
  for key, knob in knobs.items():
    must_be = knob_lib.requirement(knob)
    rows.append(f'| `{key}` | `{knob.value!r}` | {must_be} | {knob.meaning} |')
  return '\n'.join(rows)


if __name__ == '__main__':
  print(reference())

"""Which names belong to train, val and test: lists and ratios."""

import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import config as config_lib

SPLITS = ('train', 'val', 'test')


def read_lists(root: pathlib.Path) -> dict[str, list[str]]:
  """Reads those of train.txt, val.txt and test.txt that exist under `root`."""
  lists = {}
  for split in SPLITS:
    path = root / f'{split}.txt'
    if path.exists():
      lines = path.read_text('utf-8-sig').splitlines()
      lists[split] = [line.strip() for line in lines if line.strip()]
  return lists


def check_lists(lists: dict[str, list[str]], root: pathlib.Path) -> None:
  """Refuses lists that are empty, name one image twice, or lack train.txt."""
  seen = {}
  for split, names in lists.items():
    path = root / f'{split}.txt'
    if not names:
      raise config_lib.InputError(f'{path} is empty; list a name a line')
    for name in names:
      if name in seen:
        raise config_lib.InputError(
          f'{path} names {name}, which {seen[name]}.txt '
          'already has; list a name once, or scores mean nothing'
        )
      seen[name] = split
  if lists and 'train' not in lists:
    raise config_lib.InputError(
      f'{root} has {next(iter(lists))}.txt but no train.txt; add one, a name '
      'a line'
    )


def hold_back(
  names: Sequence[str], share: float, seed: int
) -> tuple[list[str], list[str]]:
  """Draws `share` of the names (at least one if share > 0) as validation.

  Returns:
    What is left for training, and the validation names, both in their order.
  """
  num_val = max(1, round(share * len(names))) if share > 0 else 0
  if num_val and num_val >= len(names):
    raise config_lib.InputError(
      f'config.data.val_share {share} of {len(names)} images leaves none to '
      'train on; lower it, or add images'
    )
  drawn = np.random.default_rng(seed).permutation(len(names))[:num_val]
  held = set(drawn.tolist())
  return (
    [name for i, name in enumerate(names) if i not in held],
    [name for i, name in enumerate(names) if i in held],
  )

"""Parts of a model by name, and the schedule by which they are unfrozen.

A part is `encoder`, `bottleneck`, `decoder`, `norms`, `head`, or a single block
by its name in the checkpoint: `down0`, `up0`, `merge0` and so on.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from unet_jax import errors

GROUPS = {
  'encoder': ('stem', 'down'),
  'bottleneck': ('bottleneck',),
  'decoder': ('up', 'merge'),
  'head': ('narrow', 'head'),
}
NORMS = 'norms'
# (number of finished steps, the parts that are frozen from there on).
Stages = Sequence[tuple[int, tuple[str, ...]]]
ALL_TRAIN = ((0, ()),)


def group(block: str) -> str:
  """Returns the group of a block, from GROUPS; by default the block's name."""
  for name, prefixes in GROUPS.items():
    if block.startswith(prefixes):
      return name
  return block


def is_in(path: str, names: Sequence[str]) -> bool:
  """Returns whether a leaf, 'down0/norm1/scale', is in one of the parts."""
  block, *rest = path.split('/')
  return (
    block in names
    or group(block) in names
    or (NORMS in names and any(name.startswith('norm') for name in rest))
  )


def distance(block: str, depth: int) -> int:
  """Returns a block's distance from the head, in levels; down0 is farthest."""
  level = int(re.sub(r'\D', '', block) or 0)
  return {
    'head': 0,
    'decoder': 1 + level,
    'bottleneck': 1 + depth,
    'encoder': 1 + 2 * depth - level,
  }[group(block)]


def map_paths(function, params: Mapping[str, Any]) -> dict:
  """Maps a function of (path, leaf) over parameters; a path is 'a/b/c'."""
  return jax.tree_util.tree_map_with_path(
    lambda path, x: function('/'.join(key.key for key in path), x), params
  )


def split(params: Mapping[str, Any], frozen: Sequence[str]) -> dict:
  """Returns the trained parameters, with None in place of frozen ones."""
  return map_paths(lambda path, x: None if is_in(path, frozen) else x, params)


def fill(trained: Mapping[str, Any], params: Mapping[str, Any]) -> dict:
  """Fills each None of a tree from `split` with the leaf of `params`."""
  return jax.tree.map(
    lambda x, default: default if x is None else x,
    trained,
    params,
    is_leaf=lambda x: x is None,
  )


def frozen_blocks(params: Mapping[str, Any], frozen: Sequence[str]) -> tuple:
  """Returns the blocks with frozen batch norm, for the argument of UNet."""
  return tuple(
    block for block in params if NORMS in frozen or is_in(block, frozen)
  )


def stages(freeze: Sequence[str], unfreeze: float, total_steps: int) -> Stages:
  """Returns the frozen parts, stage by stage.

  Args:
    freeze: parts to freeze; the last one is unfrozen first.
    unfreeze: share of the steps after which all parts are unfrozen, one by one
      at equal intervals; 0 keeps all of them frozen to the end.
    total_steps: number of steps of the run.
  """
  freeze = tuple(freeze)
  count = len(freeze) if unfreeze else 0
  starts = [
    math.ceil(unfreeze * total_steps * i / count) for i in range(1, count + 1)
  ]
  later = [(start, freeze[: -i - 1]) for i, start in enumerate(starts)]
  return ((0, freeze), *later)


def check(transfer, depth: int) -> None:
  """Raises InputError for an unknown part, or if every part is frozen."""
  freeze = transfer.freeze
  levels = [f'{name}{i}' for i in range(depth) for name in GROUPS['decoder']]
  blocks = [f'down{i}' for i in range(depth)] + ['bottleneck', *levels, 'head']
  known = (*GROUPS, NORMS, *blocks)
  for name in freeze:
    if name not in known:
      raise errors.InputError(
        f'config.transfer.freeze has {name!r}; a model of depth {depth} has '
        f'{", ".join(dict.fromkeys(known))}'
      )
  if not transfer.unfreeze and all(is_in(block, freeze) for block in blocks):
    raise errors.InputError(
      'config.transfer.freeze leaves nothing to train; remove a part, or '
      'set config.transfer.unfreeze=0.5'
    )


def check_cold(transfer) -> None:
  """Raises InputError if a cold start would freeze parts."""
  if transfer.freeze:
    raise errors.InputError(
      'config.transfer.freeze would freeze random initial weights; start from '
      'another run with --init_from=RUN, or set config.transfer.freeze=()'
    )

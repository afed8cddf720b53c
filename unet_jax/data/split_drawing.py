"""Draws validation splits and folds by seed: stratified by class, and with all
images of a patient in one part."""

import collections
import csv
import io
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax import errors, text_files
from unet_jax.data.spec import Split

DEFAULT_SHARE = 0.2  # Of val, if there are no lists.


class Drawn(NamedTuple):
  """Keys of the drawn train and val."""

  train: list[str]
  val: list[str]
  folds: tuple[Sequence[str], ...]  # Keys of each fold, if any.
  note: str


def is_needed(split: Split, keys: Mapping[str, Sequence[str]]) -> bool:
  """Returns whether val has to be drawn from the listed splits."""
  share = split.val_share > 0 or (split.val_share < 0 and 'all' in keys)
  return bool(split.folds or ('val' not in keys and share))


def without_val(
  keys: Mapping[str, Sequence[str]],
) -> dict[str, Sequence[str]]:
  """Returns the splits if no val is drawn: unlisted images are for training."""
  return {'train': keys['all']} if 'all' in keys else dict(keys)


def pool(keys: Mapping[str, Sequence[str]]) -> list[str]:
  """Returns the keys to draw from: all keys but those of test."""
  return [*keys.get('all', ()), *keys.get('train', ()), *keys.get('val', ())]


def draw(
  split: Split,
  pooled: Sequence[str],
  *,
  names: Sequence[str],
  presence: np.ndarray,
  root: pathlib.Path,
  seed: int,
) -> Drawn:
  """Draws val, or the fold that is val.

  Args:
    split: number of folds, or share of val.
    pooled: N keys to draw from.
    names: N names of their images.
    presence: bool[N, K], which classes each image has.
    root: folder of the data; see `group`.
    seed: of the draw.
  """
  count = len(pooled)
  groups = group(names, split.group, root)
  folds: tuple[Sequence[str], ...] = ()
  chosen = 'drawn'
  if split.folds:
    fold_of = draw_folds(groups, presence, split.folds, seed)
    folds = tuple(_take(pooled, fold_of == i) for i in range(split.folds))
    is_val = fold_of == split.fold
    chosen = f'fold {split.fold} of {split.folds}, drawn'
  else:
    share = split.val_share if split.val_share > 0 else DEFAULT_SHARE
    is_val = hold_back(groups, presence, share, seed)
    wanted = share_size(count, share)
    if is_val.sum() != wanted:
      chosen = f'the nearest to {wanted} that whole groups make, {chosen}'
  together = f', {len(set(groups))} groups kept whole' if split.group else ''
  note = (
    f'val is {is_val.sum()} of {count} images, {chosen} by seed and '
    f'stratified by class{together}'
  )
  return Drawn(_take(pooled, ~is_val), _take(pooled, is_val), folds, note)


def check_saved(
  saved: Mapping[str, Sequence[str]], pooled: Sequence[str], root: str
) -> None:
  """Refuses to resume with drawn splits whose images have changed."""
  before = {*saved.get('train', ()), *saved.get('val', ())}
  for name in sorted(before ^ set(pooled)):
    how = 'is no longer there' if name in before else 'is new'
    raise errors.InputError(
      f'{root}: image {name} {how} since this run drew its splits; restore '
      'the images that it had, or start over with --overwrite'
    )


def _take(names: Sequence[str], chosen: np.ndarray) -> list[str]:
  """Returns the names where `chosen`, bool[N], is True."""
  return [name for name, is_in in zip(names, chosen, strict=True) if is_in]


def group(names: Sequence[str], rule: str, root: pathlib.Path) -> list[str]:
  """Returns the group of each image, such as its patient.

  Args:
    names: names of the images.
    rule: '' gives each image a group of its own; a regular expression, whose
      first group is the image's; or FILE.csv:COLUMN, where the first column of
      FILE.csv has the names.
    root: folder of FILE.csv.
  """
  if not rule:
    return [f'{i}' for i in range(len(names))]
  file, is_table, column = rule.rpartition('.csv:')
  if is_table:
    return _from_table(names, root / f'{file}.csv', column)
  groups = []
  for name in names:
    match = re.search(text_files.normal(rule), text_files.normal(name))
    if not match or match[1] is None:
      raise errors.InputError(
        f'config.data.split.group {rule!r} does not match {name}; correct it'
      )
    groups.append(match[1])
  return groups


def _from_table(
  names: Sequence[str], path: pathlib.Path, column: str
) -> list[str]:
  try:
    text = text_files.read_text(path)
    table = csv.DictReader(io.StringIO(text, newline=''))
    columns, rows = list(table.fieldnames or ()), list(table)
  except csv.Error as error:
    raise errors.InputError(
      f'config.data.split.group: {path} cannot be read ({error})'
    ) from None
  if column not in columns:
    raise errors.InputError(
      f'config.data.split.group: {path} has no column {column} (it has: '
      f'{", ".join(columns)})'
    )
  normal = text_files.normal
  patients = {normal(row[columns[0]] or ''): row[column] for row in rows}
  for name in names:
    if not patients.get(normal(name)):
      raise errors.InputError(
        f'config.data.split.group: {path} has no {column} for {name}; add a row'
      )
  return [patients[normal(name)] for name in names]


def draw_parts(
  sizes: Sequence[int],
  groups: Sequence[str],
  presence: np.ndarray,
  seed: int,
) -> np.ndarray:
  """Distributes images so that every part has its share of each class.

  Greedy, the rarest class first, as in Sechidis et al. 2011, "On the
  stratification of multi-label data"; a group stays together.

  Args:
    sizes: images of each part, N in all. The parts have exactly these sizes if
      every group has one image, and nearly these sizes otherwise; none is empty
      if there are as many groups.
    groups: N names; images with the same name stay together.
    presence: bool[N, K], which classes an image has.
    seed: breaks ties.

  Returns:
    int[N], each image's part.
  """
  # Column 0 counts images; column 1 + k counts images with class k.
  shared = np.column_stack([np.ones(len(groups)), presence]).astype(float)
  names, member = np.unique(np.asarray(groups, str), return_inverse=True)
  counts = np.zeros((len(names), shared.shape[1]))  # [G, 1 + K]
  np.add.at(counts, member, shared)
  total = np.maximum(counts.sum(axis=0), 1)
  wanted = np.asarray(sizes, float)[:, None] / sum(sizes) * total  # [P, 1 + K]
  rarest = np.where(counts > 0, total, np.inf).min(axis=1)
  order = np.random.default_rng(seed).permutation(len(names))
  order = order[np.lexsort((-counts[order, 0], rarest[order]))]
  have, part_of = np.zeros_like(wanted), np.zeros(len(names), int)
  for i in order:
    room = np.asarray(sizes) - have[:, 0]
    fits = room >= counts[i, 0]
    # Prefers the part that lacks most of its share; rare classes weigh more.
    gain = ((1 - have / wanted) * counts[i] / total).sum(axis=1)
    overfull = np.where(have[:, 0] == 0, np.inf, room)  # No part stays empty.
    gain = np.where(fits, gain, -np.inf) if fits.any() else overfull
    part_of[i] = gain.argmax()
    have[part_of[i]] += counts[i]
  return part_of[member]


def hold_back(
  groups: Sequence[str], presence: np.ndarray, share: float, seed: int
) -> np.ndarray:
  """Draws about `share` of the images, above 0, as validation.

  Val and train have at least one group each.

  Returns:
    bool[N], which are held out; see `draw_parts`.

  Raises:
    InputError: if there are fewer than two groups.
  """
  count, sizes = len(groups), collections.Counter(groups).values()
  if len(sizes) < 2:
    what = 'one image' if count == 1 else f'{count} images of one group'
    raise errors.InputError(
      f'{what} cannot be split into train and val; add images, or train '
      'without val: --config.data.split.val_share=0'
    )
  num_val = _nearest_sum(sizes, share_size(count, share))
  return draw_parts([count - num_val, num_val], groups, presence, seed) == 1


def share_size(count: int, share: float) -> int:
  """Returns how many of the images a share above 0 is, at least one."""
  return max(1, round(share * count))


def _nearest_sum(sizes: Iterable[int], wanted: int) -> int:
  """Returns the sum of some but not all sizes that is nearest to `wanted`."""
  sums = 1  # Bit i: some of the sizes add up to i.
  for size in sizes:
    sums |= sums << size
  total = sums.bit_length() - 1
  return min(
    (i for i in range(1, total) if sums >> i & 1),
    key=lambda i: abs(i - wanted),
  )


def draw_folds(
  groups: Sequence[str], presence: np.ndarray, num_folds: int, seed: int
) -> np.ndarray:
  """Distributes the images over folds: int[N]; see `draw_parts`."""
  count = len(groups)
  if len(set(groups)) < num_folds:
    raise errors.InputError(
      f'config.data.split.folds is {num_folds}, but there are '
      f'{len(set(groups))} images or groups to train on; lower it'
    )
  sizes = [len(part) for part in np.array_split(range(count), num_folds)]
  return draw_parts(sizes, groups, presence, seed)

"""Images that are too much alike, within a split and across splits."""

import collections
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import errors
from unet_jax.data import split_drawing
from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.doctor.survey import Record, Survey

ALIKE = 0.9  # Correlation of what sets thumbnails apart.
BLUR = 3  # Pixels of a thumbnail; what is coarser is left out.
MAX_COMPARED = 20_000  # Images, each with each.
MIN_COMPARED = 8  # Images, to know what all of them share.
BLOCK = 1024
# Up to what ends a name, its beginning may be a patient's, a film's, an eye's.
GROUP = r'(?i)^(.+?)(?:[_\-. ](?:[a-z]?\d+|[lr]|left|right|od|os))?$'
MIN_GROUPS = 4


def check(survey: Survey) -> list[Finding]:
  """Runs every check of this file."""
  return [
    *duplicates(survey),
    *near_duplicates(survey),
    *identical_masks(survey),
    *group_leakage(survey),
  ]


def duplicates(survey: Survey) -> list[Finding]:
  """Finds images whose pixels are the same."""
  seen = [record for record in survey.records if record.look]
  groups = _alike(seen, [record.look.digest for record in seen])
  pairs = [pair for group in groups for pair in itertools.pairwise(group)]
  return _report(pairs, 'duplicate images', 'the same')


def near_duplicates(survey: Survey) -> list[Finding]:
  """Finds images that nearly repeat another, as frames of a film do."""
  seen = [record for record in survey.records if record.look]
  if len(seen) < MIN_COMPARED:
    return []
  if len(seen) > MAX_COMPARED:
    text = f'not looked for: {len(seen)} images are more than {MAX_COMPARED}'
    return [Finding('note', 'near duplicates', text=text)]
  features = distinguish(np.stack([record.look.thumb for record in seen]))
  numbers = {split: i for i, split in enumerate({x.split for x in seen})}
  group = np.array([numbers[record.split] for record in seen])
  pairs = [
    (seen[i], seen[j])
    for same in (False, True)
    for i, j in nearest_pairs(features, group, same=same)
    if seen[i].look.digest != seen[j].look.digest
  ]
  return _report(pairs, 'near duplicates', 'nearly the same')


def distinguish(thumbs: np.ndarray) -> np.ndarray:
  """Returns what sets each thumbnail apart, at length 1: float32[N, S * S].

  That is its fine structure, less the mean of the set. Retinal photographs,
  all a bright disc on black, are then no more alike than street scenes are;
  difference hashes (dHash) can't tell them apart.

  Args:
    thumbs: float32[N, S, S].
  """
  side = 2 * BLUR + 1
  wide = np.pad(thumbs, ((0, 0), (BLUR, BLUR), (BLUR, BLUR)), mode='edge')
  windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (1, 2))
  fine = (thumbs - windows.mean(axis=(-2, -1))).reshape(len(thumbs), -1)
  fine /= np.maximum(fine.std(axis=1, keepdims=True), 1e-6)
  fine -= fine.mean(axis=0)
  return fine / np.maximum(np.linalg.norm(fine, axis=1, keepdims=True), 1e-6)


def nearest_pairs(
  features: np.ndarray, group: np.ndarray, *, same: bool
) -> list[tuple[int, int]]:
  """Pairs each row with the one most like it, if that is alike enough.

  Args:
    features: float32[N, F], of length 1.
    group: int[N].
    same: whether to look in the row's own group, or in the others.

  Returns:
    (i, j), i < j, the most alike first.
  """
  found = {}
  for first in range(0, len(features), BLOCK):
    rows = np.arange(first, min(first + BLOCK, len(features)))
    likeness = features[rows] @ features.T
    likeness[(group[rows, None] == group) != same] = -1
    likeness[rows - first, rows] = -1
    nearest = likeness.argmax(axis=1)
    for i, j in zip(rows, nearest, strict=True):
      if likeness[i - first, j] > ALIKE:
        found[min(i, j), max(i, j)] = likeness[i - first, j]
  return sorted(found, key=found.get, reverse=True)


def identical_masks(survey: Survey) -> list[Finding]:
  """Finds different images with one mask, unless it is empty."""
  seen = [
    record
    for record in survey.records
    if record.look and record.counted and record.counted.counts.any()
  ]
  groups = _alike(seen, [record.counted.digest for record in seen])
  files = [
    record
    for group in groups
    if len({record.look.digest for record in group}) > 1
    for record in group
  ]
  if not files:
    return []
  return [
    Finding(
      'warning',
      'identical masks',
      text=f'{plural(len(files), "image")} have the mask of another, unlike '
      'image',
      remedy='look whether a mask was saved under the wrong name',
      files=tuple(map(mask_path, files)),
      number=len(files),
    )
  ]


def group_leakage(survey: Survey) -> list[Finding]:
  """Finds groups, as of a patient's images, that are in several splits.

  They are what config.data.group says, or else names that begin alike, if most
  of the images are of such.
  """
  data, groups = survey.config.data, collections.defaultdict(list)
  names = [record.name for record in survey.records]
  root = pathlib.Path(data.root)
  try:
    found = split_drawing.group(names, data.group or GROUP, root)
  except errors.InputError:
    return []  # It is refused.
  for name, record in zip(found, survey.records, strict=True):
    groups[name].append(record)
  several = {name: group for name, group in groups.items() if len(group) > 1}
  leaking = {
    name: group
    for name, group in several.items()
    if len({record.split for record in group}) > 1
  }
  is_telling = len(groups) >= MIN_GROUPS and 2 * sum(
    map(len, several.values())
  ) >= len(names)
  if not leaking or not (data.group or is_telling):
    return []
  records = [record for group in leaking.values() for record in group]
  what = 'of config.data.group' if data.group else 'of names that begin alike'
  is_drawn = survey.files is not None and not survey.files.lists
  return [
    Finding(
      'error' if data.group else 'warning',
      'group leakage',
      text=f'{plural(len(leaking), "group")} {what} ({some(sorted(leaking))}) '
      'in several splits: if each is a patient or a film, scores are too good',
      remedy='keep each group in one split',
      files=tuple(map(image_path, records)),
      number=len(records),
      settings={'data.group': GROUP} if is_drawn and not data.group else {},
    )
  ]


def image_path(record: Record) -> str:
  """Returns where the image lies, or its name."""
  return record.image.path if record.image else record.name


def mask_path(record: Record) -> str:
  """Returns where the first mask lies, or the name."""
  return next((mask.path for mask in record.masks.values()), record.name)


def _alike(records: Sequence[Record], keys: Sequence[str]) -> list[list]:
  groups = collections.defaultdict(list)
  for record, key in zip(records, keys, strict=True):
    groups[key].append(record)
  return [group for group in groups.values() if len(group) > 1]


def _report(
  pairs: Sequence[tuple[Record, Record]], title: str, what: str
) -> list[Finding]:
  """Says it of the pairs that two splits share, and of those in one split."""
  findings = []
  for across in (True, False):
    chosen = [(a, b) for a, b in pairs if (a.split != b.split) == across]
    if not chosen:
      continue
    images = dict.fromkeys(image_path(x) for pair in chosen for x in pair)
    where = 'across splits' if across else 'within a split'
    findings.append(
      Finding(
        'warning' if across else 'note',
        title,
        text=f'{plural(len(images), "image")} {where} show {what} as another: '
        f'{some([_pair(a, b) for a, b in chosen])}',
        remedy='scores are too good: keep copies and neighbours in one split'
        if across
        else 'count them as fewer images than they are',
        files=tuple(images),
        number=len(images),
      )
    )
  return findings


def _pair(a: Record, b: Record) -> str:
  if a.split == b.split:
    return f'{a.name} and {b.name}'
  return f'{a.name} ({a.split}) and {b.name} ({b.split})'

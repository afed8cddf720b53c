"""Finds images that are too similar, and splits that differ too much."""

import collections
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax import errors
from unet_jax.data import split_drawing
from unet_jax.data.checks import classes
from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.data.stored import File
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Record, Survey

ALIKE = 0.9  # Correlation of the thumbnails' fine structure.
BLUR = 3  # Pixels of a thumbnail; coarser structure is left out.
MAX_COMPARED = 20_000  # Images; every pair is compared.
MIN_COMPARED = 8  # Images; the mean of fewer is not what all images share.
BLOCK = 1024  # Images that are compared with all others at once.
# A name without its last number or side may name a patient, a film or an eye.
GROUP = r'(?i)^(.+?)(?:[_\-. ](?:[a-z]?\d+|[lr]|left|right|od|os))?$'
MIN_GROUPS = 4


def duplicates(survey: Survey) -> list[Finding]:
  """Finds images whose pixels are the same."""
  readable = survey.with_image()
  groups = _alike([(record, stats.digest) for record, stats in readable])
  pairs = [pair for group in groups for pair in itertools.pairwise(group)]
  return [
    Finding('warning' if is_across else 'note', 'duplicate images', **about)
    for is_across, about in _describe(pairs, 'the same')
  ]


def near_duplicates(survey: Survey) -> list[Finding]:
  """Finds images that nearly repeat another, as frames of a film do."""
  readable = survey.with_image()
  if len(readable) < MIN_COMPARED:
    return []
  if len(readable) > MAX_COMPARED:
    text = f'not searched: {len(readable)} images are more than {MAX_COMPARED}'
    return [Finding('note', 'near duplicates', text=text)]
  records, stats_of = zip(*readable, strict=True)
  features = distinguish(np.stack([stats.thumb for stats in stats_of]))
  numbers = {split: i for i, split in enumerate({x.split for x in records})}
  group = np.array([numbers[record.split] for record in records])
  pairs = [
    (records[i], records[j])
    for same in (False, True)
    for i, j in nearest_pairs(features, group, same=same)
    if stats_of[i].digest != stats_of[j].digest
  ]
  return [
    Finding('warning' if is_across else 'note', 'near duplicates', **about)
    for is_across, about in _describe(pairs, 'nearly the same')
  ]


def distinguish(thumbs: np.ndarray) -> np.ndarray:
  """Returns each thumbnail's fine structure, less the mean of the set.

  Retinal photographs all show a bright disc on black, and difference hashes
  (dHash) of them are alike. By their fine structure such photographs are no
  more alike than street scenes are.

  Args:
    thumbs: float32[N, S, S].

  Returns:
    float32[N, S * S], each row of length 1.
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
  """Pairs each row with the most similar row, if they are similar enough.

  Args:
    features: float32[N, F], of length 1.
    group: int[N].
    same: whether to pair a row within its own group, or with other groups.

  Returns:
    Pairs (i, j), i < j, the most similar first.
  """
  correlation = {}  # Of the pairs above ALIKE.
  for first in range(0, len(features), BLOCK):
    rows = np.arange(first, min(first + BLOCK, len(features)))
    likeness = features[rows] @ features.T
    likeness[(group[rows, None] == group) != same] = -1
    likeness[rows - first, rows] = -1
    nearest = likeness.argmax(axis=1)
    for i, j in zip(rows, nearest, strict=True):
      if likeness[i - first, j] > ALIKE:
        correlation[min(i, j), max(i, j)] = likeness[i - first, j]
  return sorted(correlation, key=correlation.__getitem__, reverse=True)


def identical_masks(survey: Survey) -> list[Finding]:
  """Finds different images with the same mask, unless the mask is empty."""
  stats_of = {record.key: stats for record, stats in survey.with_image()}
  groups = _alike(
    [
      (record, label.digest)
      for record, label in survey.with_label()
      if record.key in stats_of and label.counts.any()
    ]
  )
  records = [
    record
    for group in groups
    if len({stats_of[record.key].digest for record in group}) > 1
    for record in group
  ]
  if not records:
    return []
  return [
    Finding(
      'warning',
      'identical masks',
      text=f'{plural(len(records), "image")} have the same mask as a '
      'different image',
      remedy='check whether a mask was saved under the wrong name',
      files=tuple(map(_mask_path, records)),
      number=len(records),
    )
  ]


def group_leakage(survey: Survey) -> list[Finding]:
  """Finds groups, such as a patient's images, that lie in several splits.

  The groups are those of config.data.split.group. If it is empty, images
  whose names begin alike form a group, if most images are in such groups.
  """
  rule, groups = survey.config.data.split.group, collections.defaultdict(list)
  names = [record.name for record in survey.records]
  root = pathlib.Path(survey.config.data.root)
  try:
    group_names = split_drawing.group(names, rule or GROUP, root)
  except errors.InputError:
    return []  # Training refuses config.data.split.group.
  for name, record in zip(group_names, survey.records, strict=True):
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
  if not leaking or not (rule or is_telling):
    return []
  records = [record for group in leaking.values() for record in group]
  what = 'of config.data.split.group' if rule else 'of names that begin alike'
  is_drawn = survey.files is not None and not survey.files.lists
  return [
    Finding(
      'error' if rule else 'warning',
      'group leakage',
      text=f'{plural(len(leaking), "group")} {what} ({some(sorted(leaking))}) '
      'in several splits: if each is a patient or a video, scores are too good',
      remedy='keep each group in one split',
      files=tuple(record.path for record in records),
      number=len(records),
      settings={'data.split.group': GROUP} if is_drawn and not rule else {},
    )
  ]


def shift(survey: Survey, present: Mapping[str, np.ndarray]) -> list[Finding]:
  """Finds classes or mask folders with far more or fewer images in train.

  Args:
    survey: of the data set.
    present: split -> bool[N, K], whether an image has the class.
  """
  findings = classes.shift(present, survey.classes)
  folders = sorted({name for record in survey.records for name in record.masks})
  masks = survey.config.data.masks
  if masks.kind != 'folders' or set(folders) <= {*survey.classes}:
    return findings
  # Classes are unions of folders, which can hide the shift of a folder.
  least = 1 if masks.soft else masks.threshold
  by_folder: dict[str, list[list[bool]]] = {}
  for record in survey.records:
    by_folder.setdefault(record.split, []).append(
      [_reaches(record.masks.get(folder), least) for folder in folders]
    )
  return findings + [
    finding._replace(text=f'by mask folder, {finding.text}')
    for finding in classes.shift(
      {split: np.array(rows) for split, rows in by_folder.items()}, folders
    )
  ]


def _reaches(mask: File | None, least: int) -> bool:
  """Returns whether some pixel of a mask has the value `least` or more."""
  return mask is not None and any(
    isinstance(value, int) and value >= least for value in mask.values
  )


def _mask_path(record: Record) -> str:
  """Returns the path of the first mask, or the record's name."""
  return next((mask.path for mask in record.masks.values()), record.name)


def _alike(records: Sequence[tuple[Record, str]]) -> list[list[Record]]:
  """Groups records that have the same digest; a single record is no group."""
  groups = collections.defaultdict(list)
  for record, digest in records:
    groups[digest].append(record)
  return [group for group in groups.values() if len(group) > 1]


def _describe(
  pairs: Sequence[tuple[Record, Record]], what: str
) -> Iterator[tuple[bool, dict[str, Any]]]:
  """Describes the pairs that two splits share, then those within a split.

  Yields:
    Whether the pairs lie across splits, and the fields of their finding.
  """
  for is_across in (True, False):
    chosen = [(a, b) for a, b in pairs if (a.split != b.split) == is_across]
    if not chosen:
      continue
    images = dict.fromkeys(x.path for pair in chosen for x in pair)
    where = 'across splits' if is_across else 'within a split'
    about = dict(
      text=f'{plural(len(images), "image")} {where} are {what} as another: '
      f'{some([_pair(a, b) for a, b in chosen])}',
      remedy='scores are too good: keep copies and neighbours in one split'
      if is_across
      else 'they are worth fewer images than their number',
      files=tuple(images),
      number=len(images),
    )
    yield is_across, about


def _pair(a: Record, b: Record) -> str:
  if a.split == b.split:
    return f'{a.name} and {b.name}'
  return f'{a.name} ({a.split}) and {b.name} ({b.split})'


CHECKS = (
  Check(
    'duplicate images',
    ('warning', 'note'),
    'Images have the same pixels; a warning across splits.',
    duplicates,
  ),
  Check(
    'near duplicates',
    ('warning', 'note'),
    'Images are nearly the same; a warning across splits.',
    near_duplicates,
  ),
  Check(
    'identical masks',
    ('warning',),
    'Different images have the same mask.',
    identical_masks,
  ),
  Check(
    'group leakage',
    ('error', 'warning'),
    'A group, such as the images of a patient, lies in several splits.',
    group_leakage,
  ),
)

"""Finds images that show nothing, or differ in kind from the other images."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.data import codes, image_files
from unet_jax.data.checks.finding import Finding, percent, plural, some
from unet_jax.doctor import statistics
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Record, Survey

DARK = 0.05  # Share of the value range that a dark image stays below.
FLAT = 0.01  # Relative spread of values up to which an image is constant.
EFFECT = 0.8  # Standard deviations between two splits' means.
CHANCE = 4.0  # Standard errors of that difference.
FEW = 5  # Images; the spread of fewer says nothing.
LEAST = 0.01  # Least visible share of the value range; added to the spread.
WHITE = 0.1  # Share of white values from which an image is saturated.
APART = 10.0  # Ratio of the ranges of two images that have not one scale.


def blank(survey: Survey) -> list[Finding]:
  """Finds constant images, and images that are nearly black."""
  constant, dark = [], []
  for record, stats in survey.with_image():
    if _is_constant(stats):
      constant.append(record)
    elif stats.bright < DARK * _white(stats, survey):
      dark.append(record)
  findings = []
  if constant:
    about = _blank_fields(constant, 'of one value all over')
    findings.append(Finding('warning', 'constant image', **about))
  if dark:
    about = _blank_fields(dark, 'nearly black')
    findings.append(Finding('warning', 'near-black image', **about))
  return findings


def flat_channels(survey: Survey) -> list[Finding]:
  """Finds channels of one value all over, in images that are not constant."""
  flat = [
    (record, stats.flat)
    for record, stats in survey.with_image()
    if stats.flat and not _is_constant(stats)
  ]
  if not flat:
    return []
  channels = sorted({k for _, several in flat for k in several})
  listed = ', '.join(map(str, channels))
  about = _blank_fields(
    [record for record, _ in flat],
    f'in which a channel ({listed}, counted from 0) has one value all over',
  )
  return [Finding('warning', 'constant channel', **about)]


def saturated(survey: Survey) -> list[Finding]:
  """Finds images of which many values are the greatest that there is."""
  white = survey.limits[1]
  records = [
    record
    for record, stats in survey.with_image()
    if stats.top > WHITE
    and stats.high >= min(white, stats.full)
    and not _is_constant(stats)
  ]
  if not records:
    return []
  about = _blank_fields(records, f'with over {percent(WHITE)} of values white')
  about |= dict(remedy='if that hides what should be seen, expose them less')
  return [Finding('note', 'saturated image', **about)]


def scales(survey: Survey) -> list[Finding]:
  """Finds images whose values span a tenth, or ten times, what others span.

  Of 8 bits all images have one scale.
  """
  spans = [
    (record, stats.bright - stats.low)
    for record, stats in survey.with_image()
    if stats.full != codes.BYTES[1] and not _is_constant(stats)
  ]
  if not spans:
    return []
  usual = float(np.median([span for _, span in spans]))
  records = [
    record
    for record, span in spans
    if not usual / APART <= span <= usual * APART
  ]
  if not records:
    return []
  about = _blank_fields(records, f'whose values do not span about {usual:.4g}')
  about |= dict(
    remedy='scale them like the others, or, if scales differ as they should, '
    'use',
    settings={'data.normalise': 'image'},
  )
  return [Finding('warning', 'another scale', **about)]


def not_finite(survey: Survey) -> list[Finding]:
  """Finds images with NaN or infinity."""
  records = [x for x, stats in survey.with_image() if not stats.is_finite]
  if not records:
    return []
  about = _blank_fields(records, 'with NaN or infinity')
  return [Finding('error', 'NaN in image', **about)]


def ranges(survey: Survey) -> list[Finding]:
  """Finds images whose values, type or channels differ from the others'."""
  by_range = collections.defaultdict(list)
  by_kind = collections.defaultdict(list)
  for record, stats in survey.with_image():
    if record.image and not _is_constant(stats):  # One value has no range.
      by_range[_range(stats)].append(record)
      by_kind[record.image.kind].append(record)
  if len(by_range) > 1:
    return [
      Finding(
        'error' if '0 to 1' in by_range else 'warning',
        'mixed ranges',
        remedy='scale the images alike',
        **_mixed_fields(by_range),
      )
    ]
  if len(by_kind) > 1:
    return [
      Finding(
        'note',
        'mixed channels',
        remedy='none, if the images show the same kind of thing: grey images '
        'are read as RGB',
        **_mixed_fields(by_kind),
      )
    ]
  return []


def colour_shift(survey: Survey) -> list[Finding]:
  """Finds splits whose images differ from train in brightness or colour.

  The measure is Cohen's d of a channel's mean, one mean per image. A split is
  reported if |d| is 0.8 or more, which Cohen calls large, and d lies four
  standard errors or more from 0.
  """
  means = collections.defaultdict(list)
  for record, stats in survey.with_image():
    means[record.split].append(stats.mean)
  if len({len(mean) for x in means.values() for mean in x}) != 1:
    return []
  findings, (low, high) = [], survey.limits
  train = np.array(means.pop('train', []))  # [N, C]
  for split, means_of_split in means.items():
    values = np.array(means_of_split)  # [N, C]
    if min(len(train), len(values)) < FEW:
      continue
    spread = LEAST * (high - low) + np.sqrt(
      (train.var(axis=0, ddof=1) + values.var(axis=0, ddof=1)) / 2
    )
    d = (values.mean(axis=0) - train.mean(axis=0)) / spread
    error = np.sqrt(1 / len(train) + 1 / len(values))
    k = int(np.abs(d).argmax())
    if abs(d[k]) >= max(EFFECT, CHANCE * error):
      channel = f'channel {k}' if d.size > 1 else 'the brightness'
      channel = ('red', 'green', 'blue')[k] if d.size == 3 else channel
      findings.append(
        Finding(
          'warning',
          'colour shift',
          text=f'{split} images differ from those of train: {channel} is '
          f'{_number(values[:, k].mean())} of {_number(high)} on average, but '
          f'{_number(train[:, k].mean())} in train ({abs(d[k]):.1f} standard '
          'deviations)',
          remedy='split the images again, or raise config.augment.brightness '
          'and config.augment.contrast',
          number=len(values),
        )
      )
  return findings


def _blank_fields(records: Sequence[Record], what: str) -> dict[str, Any]:
  """Returns the fields of a finding about images that show nothing."""
  paths = tuple(record.path for record in records)
  return dict(
    text=f'{plural(len(records), "image")} {what}: {some(paths)}',
    remedy='replace or remove',
    files=paths,
    number=len(records),
  )


def _mixed_fields(groups: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
  """Returns the fields of a finding about groups of unlike images."""
  ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
  shown = [f'{len(records)} of {kind}' for kind, records in ordered]
  fewest = ordered[-1][1]
  return dict(
    text=f'images of different kinds: {" beside ".join(shown)}',
    files=tuple(record.path for record in fewest),
    number=len(fewest),
  )


def _is_constant(stats: statistics.ImageStatistics) -> bool:
  """Returns whether all values of an image are nearly equal."""
  return stats.high - stats.low <= FLAT * stats.high


def _number(value: float) -> str:
  return f'{value:.0f}' if abs(value) >= 10 else f'{value:.3g}'


def _white(stats: statistics.ImageStatistics, survey: Survey) -> float:
  """Returns what is white in an image; 0 if that is unknown.

  White is known of 8 and 16 bits without a sign.
  """
  full = _full(stats)
  if full == image_files.WIDER * codes.BYTES[1]:
    return survey.limits[1]
  is_bytes = stats.full == codes.BYTES[1]
  return full if is_bytes else 0.0


def _full(stats: statistics.ImageStatistics) -> float:
  """Returns the top of the range that an image seems to use."""
  return 1.0 if 0 < stats.high <= 1 else stats.full


def _range(stats: statistics.ImageStatistics) -> str:
  return f'0 to {_full(stats):.0f}'


CHECKS = (
  Check(
    'constant image',
    ('warning',),
    'Images have one value all over.',
    blank,
  ),
  Check(
    'near-black image',
    ('warning',),
    'Images are nearly black.',
    blank,
  ),
  Check(
    'constant channel',
    ('warning',),
    'Channels have one value all over.',
    flat_channels,
  ),
  Check(
    'saturated image',
    ('note',),
    'A tenth of the values of images is white.',
    saturated,
  ),
  Check(
    'another scale',
    ('warning',),
    'Values of images span much less or more than those of the others.',
    scales,
  ),
  Check(
    'NaN in image',
    ('error',),
    'Images have NaN or infinity.',
    not_finite,
  ),
  Check(
    'mixed ranges',
    ('error', 'warning'),
    'Images differ in the range of their values, such as 0 to 1 and 0 to 255.',
    ranges,
  ),
  Check(
    'mixed channels',
    ('note',),
    'Images differ in channels or type, such as grey and RGB.',
    ranges,
  ),
  Check(
    'colour shift',
    ('warning',),
    'The images of a split differ from train in brightness or colour.',
    colour_shift,
  ),
)

"""Images that show nothing, or not what the others show."""

import collections

import numpy as np

from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.doctor.survey import Record, Survey

DARK = 0.05  # Share of the value range.
FLAT = 0.01
EFFECT = 0.8  # Standard deviations between two splits' means.
CHANCE = 4.0  # Standard errors.
FEW = 5  # Images, whose spread says nothing.
LEAST = 0.01  # Share of the value range, added to the spread: what one can see.


def check(survey: Survey) -> list[Finding]:
  """Runs every check of this file."""
  return [
    *blank(survey),
    *not_finite(survey),
    *ranges(survey),
    *colour_shift(survey),
  ]


def blank(survey: Survey) -> list[Finding]:
  """Finds images of one value, and those that are nearly black."""
  flat, dark = [], []
  for record in _seen(survey):
    look = record.look
    if _is_flat(look):
      flat.append(record)
    elif look.bright < DARK * _full(look):
      dark.append(record)
  return [
    *_about(flat, 'warning', 'constant image', 'of one value all over'),
    *_about(dark, 'warning', 'near-black image', 'nearly black'),
  ]


def not_finite(survey: Survey) -> list[Finding]:
  """Finds images with NaN or infinity."""
  found = [record for record in _seen(survey) if not record.look.is_finite]
  return _about(found, 'error', 'NaN in image', 'with NaN or infinity')


def ranges(survey: Survey) -> list[Finding]:
  """Finds images whose values, type or channels differ from the others'."""
  by_range = collections.defaultdict(list)
  by_kind = collections.defaultdict(list)
  for record in _seen(survey):
    if _is_flat(record.look):
      continue  # Its range says nothing.
    by_range[_range(record)].append(record)
    by_kind[record.image.kind].append(record)
  findings = []
  for title, groups, severity, remedy in (
    (
      'mixed ranges',
      by_range,
      'error' if '0 to 1' in by_range else 'warning',
      'scale the images alike',
    ),
    (
      'mixed channels',
      by_kind if len(by_range) == 1 else {},
      'note',
      'nothing, if they show the same kind of thing: grey ones are read as RGB',
    ),
  ):
    if len(groups) > 1:
      ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
      shown = [f'{len(records)} of {what}' for what, records in ordered]
      fewest = ordered[-1][1]
      findings.append(
        Finding(
          severity,
          title,
          text=f'images of different kinds: {" beside ".join(shown)}',
          remedy=remedy,
          files=tuple(record.image.path for record in fewest),
          number=len(fewest),
        )
      )
  return findings


def colour_shift(survey: Survey) -> list[Finding]:
  """Finds splits whose images are of another brightness or colour.

  By Cohen's d of a channel's mean, one figure an image: 0.8 or more, which is
  called large, and four standard errors from 0.
  """
  means = collections.defaultdict(list)
  for record in _seen(survey):
    means[record.split].append(record.look.mean)
  if len({len(mean) for x in means.values() for mean in x}) != 1:
    return []
  findings = []
  train = np.array(means.pop('train', []))
  for split, values in means.items():
    values = np.array(values)
    if min(len(train), len(values)) < FEW:
      continue
    spread = LEAST + np.sqrt(
      (train.var(axis=0, ddof=1) + values.var(axis=0, ddof=1)) / 2
    )
    d = (values.mean(axis=0) - train.mean(axis=0)) / spread
    error = np.sqrt(1 / len(train) + 1 / len(values))
    k = int(np.abs(d).argmax())
    if abs(d[k]) >= max(EFFECT, CHANCE * error):
      channel = ('red', 'green', 'blue')[k] if d.size == 3 else 'the brightness'
      findings.append(
        Finding(
          'warning',
          'colour shift',
          text=f'{split} images differ from those of train: {channel} is '
          f'{255 * values[:, k].mean():.0f} of 255 on average, in train '
          f'{255 * train[:, k].mean():.0f} ({abs(d[k]):.1f} deviations)',
          remedy='split anew, or raise config.augment.brightness and contrast',
          number=len(values),
        )
      )
  return findings


def _seen(survey: Survey) -> list[Record]:
  return [record for record in survey.records if record.image and record.look]


def _about(
  records: list[Record], severity: str, title: str, what: str
) -> list[Finding]:
  if not records:
    return []
  paths = tuple(record.image.path for record in records)
  return [
    Finding(
      severity,
      title,
      text=f'{plural(len(records), "image")} {what}: {some(paths)}',
      remedy='replace or remove',
      files=paths,
      number=len(records),
    )
  ]


def _is_flat(look) -> bool:
  return look.high - look.low <= FLAT * look.high


def _full(look) -> float:
  """Returns the top of the range that an image seems to use."""
  return 1.0 if 0 < look.high <= 1 else look.full


def _range(record: Record) -> str:
  return f'0 to {_full(record.look):.0f}'

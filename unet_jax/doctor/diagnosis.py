"""All checks of a survey, and the counts that go with them."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data import spec
from unet_jax.data import splits as splits_lib
from unet_jax.data.checks import classes, run
from unet_jax.data.checks.finding import SEVERITIES, Finding
from unet_jax.doctor.checks import files, images, regions, splits, values
from unet_jax.doctor.survey import Survey


def diagnose(survey: Survey, num_devices: int) -> list[Finding]:
  """Runs every check; returns what they found, errors first."""
  found = [
    *files.check(survey),
    *values.check(survey),
    *images.check(survey),
    *regions.check(survey),
    *splits.check(survey),
  ]
  tallies = tally(survey)
  if 'train' in tallies:
    config, num_train = survey.config, len(tallies['train'].pixels)
    encoding = spec.read(config).encoding
    found += classes.check(tallies, survey.classes, encoding)
    found += folder_shift(survey)
    found += run.length(config.total_steps, config.batch_size, num_train)
    found += run.batch(config.batch_size, num_train, num_devices)
  found += refused(survey, found)
  return ordered(found)


def ordered(found: Sequence[Finding]) -> list[Finding]:
  """Returns the errors first, then warnings, then notes."""
  return sorted(found, key=lambda x: SEVERITIES.index(x.severity))


def has_errors(found: Sequence[Finding]) -> bool:
  """Returns whether training would refuse the data, or mean nothing."""
  return any(x.severity == 'error' for x in found)


def tally(survey: Survey) -> dict[str, classes.Tally]:
  """Collects counts by split; splits without a readable label are left out."""
  tallies = {}
  for split in splits_lib.SPLITS:
    counted = [
      x.counted for x in survey.records if x.split == split and x.counted
    ]
    if counted:
      tallies[split] = classes.Tally(
        counts=np.array([x.counts for x in counted]),
        pixels=np.array([x.pixels for x in counted]),
        void=np.array([x.void for x in counted]),
      )
  return tallies


def folder_shift(survey: Survey) -> list[Finding]:
  """Looks for a shift of the mask folders that classes are merged of."""
  folders = sorted({name for record in survey.records for name in record.masks})
  if survey.config.data.mask != 'folders' or set(folders) <= {*survey.classes}:
    return []
  least = 1 if survey.config.data.soft else survey.config.data.threshold
  present = {}
  for record in survey.records:
    present.setdefault(record.split, []).append(
      [_reaches(record.masks.get(folder), least) for folder in folders]
    )
  if 'train' not in present:
    return []
  found = classes.shift({k: np.array(x) for k, x in present.items()}, folders)
  return [x._replace(text=f'by mask folder, {x.text}') for x in found]


def refused(survey: Survey, found: Sequence[Finding]) -> list[Finding]:
  """Reports what training would refuse, if no check has explained it."""
  explained = {path for x in found if x.severity == 'error' for path in x.files}
  refusals = [
    record
    for record in survey.records
    if record.refusal and not explained.intersection(_paths(record))
  ]
  findings = []
  if survey.refusal and not has_errors(found):
    findings.append(Finding('error', 'set refused', survey.refusal))
  if refusals:
    findings.append(
      Finding(
        'error',
        'refused',
        f'training refuses {len(refusals)} of {len(survey.records)} '
        f'examples, the first: {refusals[0].refusal}',
        files=tuple(path for x in refusals for path in _paths(x)),
        number=len(refusals),
      )
    )
  return findings


def _paths(record) -> list[str]:
  stored = [record.image, *record.masks.values()]
  return [x.path for x in stored if x] + [path for path, _ in record.damaged]


def _reaches(mask, least: int) -> bool:
  return bool(mask) and any(value >= least for value in mask.values)

"""All checks of a survey, and the figures that go with them."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data import splits as splits_lib
from unet_jax.data.checks import classes, quick, run
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
    found += quick.check(config, tallies, survey.classes)
    found += folder_shift(survey)
    found += run.batch(config.batch_size, num_train, num_devices)
  found += refused(survey, found)
  return ordered(found)


def ordered(found: Sequence[Finding]) -> list[Finding]:
  """Returns the errors first, then warnings, then notes."""
  return sorted(found, key=lambda x: SEVERITIES.index(x.severity))


def has_errors(found: Sequence[Finding]) -> bool:
  """Tells whether training would refuse, or mean nothing."""
  return any(x.severity == 'error' for x in found)


def tally(survey: Survey) -> dict[str, classes.Tally]:
  """Collects the labels' counts by split; those that can't be read lack."""
  tallies = {}
  for split in splits_lib.SPLITS:
    counted = [
      x.counted for x in survey.records if x.split == split and x.counted
    ]
    if counted:
      tallies[split] = classes.Tally(
        np.array([x.counts for x in counted]),
        np.array([x.pixels for x in counted]),
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
    findings.append(Finding('error', 'set refused', text=survey.refusal))
  if refusals:
    findings.append(
      Finding(
        'error',
        'refused',
        text=f'training refuses {len(refusals)} of {len(survey.records)} '
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

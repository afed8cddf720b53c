"""All checks of an inspection, and the figures that go with them."""

from collections.abc import Sequence

import numpy as np

from unet_jax.data.checks import (
  classes,
  files,
  images,
  quick,
  regions,
  run,
  splits,
  values,
)
from unet_jax.data.checks.finding import SEVERITIES, Finding
from unet_jax.data.inspection import Inspection


def diagnose(inspection: Inspection, num_devices: int) -> list[Finding]:
  """Runs every check; returns what they found, errors first."""
  found = [
    *files.check(inspection),
    *values.check(inspection),
    *images.check(inspection),
    *regions.check(inspection),
    *splits.check(inspection),
  ]
  tallies = tally(inspection)
  if 'train' in tallies:
    config, num_train = inspection.config, len(tallies['train'].pixels)
    found += quick.check(config, tallies, inspection.classes)
    found += folder_shift(inspection)
    found += run.batch(config.batch_size, num_train, num_devices)
  found += refused(inspection, found)
  return ordered(found)


def ordered(found: Sequence[Finding]) -> list[Finding]:
  """Returns the errors first, then warnings, then notes."""
  return sorted(found, key=lambda x: SEVERITIES.index(x.severity))


def has_errors(found: Sequence[Finding]) -> bool:
  """Tells whether training would refuse, or mean nothing."""
  return any(x.severity == 'error' for x in found)


def tally(inspection: Inspection) -> dict[str, classes.Tally]:
  """Collects the labels' counts by split; those that can't be read lack."""
  tallies = {}
  for split in dict.fromkeys(record.split for record in inspection.records):
    counted = [
      x.counted for x in inspection.records if x.split == split and x.counted
    ]
    if counted:
      tallies[split] = classes.Tally(
        np.array([x.counts for x in counted]),
        np.array([x.pixels for x in counted]),
      )
  return tallies


def folder_shift(inspection: Inspection) -> list[Finding]:
  """Looks for a shift of the mask folders that classes are merged of."""
  folders = sorted({name for x in inspection.records for name in x.masks})
  if set(folders) <= {*inspection.classes, 'masks'}:
    return []
  least = 1 if inspection.config.data.soft else inspection.config.data.threshold
  present = {}
  for record in inspection.records:
    present.setdefault(record.split, []).append(
      [_reaches(record.masks.get(folder), least) for folder in folders]
    )
  present = {split: np.array(rows) for split, rows in present.items()}
  return classes.shift(present, folders) if 'train' in present else []


def refused(inspection: Inspection, found: Sequence[Finding]) -> list[Finding]:
  """Reports what training would refuse, if no check has explained it."""
  explained = {path for x in found if x.severity == 'error' for path in x.files}
  refusals = [
    record
    for record in inspection.records
    if record.refusal and not explained.intersection(_paths(record))
  ]
  findings = []
  if inspection.refusal and not has_errors(found):
    findings.append(Finding('error', 'set refused', inspection.refusal))
  if refusals:
    findings.append(
      Finding(
        'error',
        'refused',
        f'training refuses {len(refusals)} of {len(inspection.records)} '
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

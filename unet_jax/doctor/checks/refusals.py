"""Reports what training would refuse, if no other check explains it."""

from collections.abc import Sequence

from unet_jax.data.checks.finding import Finding
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Record, Survey


def refused(survey: Survey, findings: Sequence[Finding]) -> list[Finding]:
  """Reports refusals that the earlier findings do not explain."""
  faults = [x for x in findings if x.severity == 'error']
  explained = {path for x in faults for path in x.files}
  records = [
    record
    for record in survey.records
    if record.refusal and not explained.intersection(_paths(record))
  ]
  refusals = []
  if survey.refusal and not faults:
    refusals.append(Finding('error', 'set refused', text=survey.refusal))
  if records:
    refusals.append(
      Finding(
        'error',
        'refused',
        text=f'training refuses {len(records)} of {len(survey.records)} '
        f'examples, the first: {records[0].refusal}',
        files=tuple(path for x in records for path in _paths(x)),
        number=len(records),
      )
    )
  return refusals


def _paths(record: Record) -> list[str]:
  stored = [record.image, *record.masks.values()]
  return [x.path for x in stored if x] + [path for path, _ in record.damaged]


CHECKS = (
  Check(
    'set refused',
    ('error',),
    'Training refuses the data set for a reason that no other finding gives.',
    refused,
  ),
  Check(
    'refused',
    ('error',),
    'Training refuses examples for a reason that no other finding gives.',
    refused,
  ),
)

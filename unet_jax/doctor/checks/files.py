"""Files that are missing, don't match, or can't be read."""

from unet_jax.data import spec
from unet_jax.data.checks import files, sizes
from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.doctor.survey import Survey


def check(survey: Survey) -> list[Finding]:
  """Runs the file checks of data/checks on a survey, and that of this file."""
  findings = []
  if survey.files is not None:
    wanted = spec.read(survey.config)
    # A set that is refused has no classes yet.
    classes = survey.classes or wanted.classes or tuple(survey.files.masks)
    findings += files.check(survey.files, wanted, classes)
  pairs = [
    sizes.Pair(record.image, tuple(record.masks.values()))
    for record in survey.records
    if record.image
  ]
  return [
    *findings,
    *sizes.check(pairs),
    *unreadable(survey),
  ]


def unreadable(survey: Survey) -> list[Finding]:
  """Finds files that can't be decoded."""
  damaged = [x for record in survey.records for x in record.damaged]
  if not damaged:
    return []
  return [
    Finding(
      'error',
      'unreadable file',
      text=f'{plural(len(damaged), "file")} can not be decoded: '
      f'{some([f"{path} ({reason})" for path, reason in damaged])}',
      remedy='restore or remove them',
      files=tuple(path for path, _ in damaged),
      number=len(damaged),
    )
  ]

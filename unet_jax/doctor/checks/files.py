"""Files that are missing, don't match, or can't be read.

Training refuses the first error of `names` and `shapes`, by the same functions.
"""

from unet_jax.data import spec
from unet_jax.data.checks import files, sizes
from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.doctor.survey import Survey


def names(survey: Survey) -> list[Finding]:
  """Finds folders, files and lists that don't match by their names."""
  if survey.files is None:
    return []
  wanted = spec.read(survey.config)
  # A set that training would not open has no classes yet.
  classes = survey.classes or wanted.classes or tuple(survey.files.masks)
  return files.check(survey.files, wanted, classes)


def shapes(survey: Survey) -> list[Finding]:
  """Finds masks and images that don't match in size or in their rotation."""
  pairs = [
    sizes.Pair(record.image, tuple(record.masks.values()))
    for record in survey.records
    if record.image
  ]
  return sizes.check(pairs)


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

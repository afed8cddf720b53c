"""Finds files that are missing, don't match, or can't be read.

Training makes the checks of `names` and `shapes`, and refuses the first error.
"""

from unet_jax.data import spec
from unet_jax.data.checks import files, sizes
from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey


def names(survey: Survey) -> list[Finding]:
  """Finds folders, files and lists that don't match by their names."""
  if survey.files is None:
    return []
  data_spec = spec.read(survey.config)
  # A set that training would not open has no classes yet.
  classes = survey.classes or data_spec.classes or tuple(survey.files.masks)
  return files.check(survey.files, data_spec, classes)


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
      text=f'{plural(len(damaged), "file")} cannot be decoded: '
      f'{some([f"{path} ({reason})" for path, reason in damaged])}',
      remedy='restore or remove them',
      files=tuple(path for path, _ in damaged),
      number=len(damaged),
    )
  ]


CHECKS = (
  Check(
    'no folder',
    ('error',),
    'A folder of images, masks or fields of view does not exist.',
    names,
  ),
  Check(
    'empty folder',
    ('error',),
    'A folder holds no file that can be read.',
    names,
  ),
  Check(
    'image without mask',
    ('error',),
    'Images lack a mask of their name.',
    names,
  ),
  Check(
    'mask without image',
    ('error', 'note'),
    'Masks lack an image of their name; a note if lists choose the images.',
    names,
  ),
  Check(
    'image without field of view',
    ('error',),
    'Images lack a mask of the field of view.',
    names,
  ),
  Check(
    'ambiguous pair',
    ('error',),
    'Several files share a name, as a.png and a.jpg do.',
    names,
  ),
  Check(
    'left out',
    ('warning',),
    'Files have an ending that is not read, or the name of another file.',
    names,
  ),
  Check(
    'empty list',
    ('error',),
    'A list names no image.',
    names,
  ),
  Check(
    'no train list',
    ('error',),
    'There is a list of val or test, but no train.txt.',
    names,
  ),
  Check(
    'listed without file',
    ('error',),
    'A list names images that do not exist.',
    names,
  ),
  Check(
    'listed twice',
    ('error',),
    'A name is listed more than once.',
    names,
  ),
  Check(
    'unlisted images',
    ('note',),
    'Images are in no list, so training does not use them.',
    names,
  ),
  Check(
    'transposed mask',
    ('error',),
    "Masks have their image's width as height, and its height as width.",
    shapes,
  ),
  Check(
    'size mismatch',
    ('error',),
    'Masks have another size than their image.',
    shapes,
  ),
  Check(
    'EXIF rotation',
    ('error', 'warning', 'note'),
    'EXIF rotates images; an error if their masks are not rotated, too.',
    shapes,
  ),
  Check(
    'unreadable file',
    ('error',),
    'Files are damaged, or of a format that cannot be decoded.',
    unreadable,
  ),
)

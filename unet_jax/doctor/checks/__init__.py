"""CHECKS: every finding that the doctor can make, in the order of the checks.

A new finding is a function that returns it, a row here, and a test.
"""

from collections.abc import Callable
from typing import NamedTuple

from unet_jax.data.checks import classes, run
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor import overfit
from unet_jax.doctor.checks import (
  files,
  images,
  memory,
  refusals,
  regions,
  splits,
  values,
)


class Check(NamedTuple):
  """A row of the table.

  Attributes:
    title: the finding's; a title has one row.
    severities: the severities that the finding can have, the worst first.
    meaning: what the finding says, in a line.
    find: returns the findings. Its parameters name fields of diagnosis.Facts. A
      function with several titles stands in several rows, and runs once.
    stage: `data` runs always; `step` compiles a training step, and runs if the
      data has no error; `overfit` trains, and runs if asked for, too.
  """

  title: str
  severities: tuple[str, ...]
  meaning: str
  find: Callable[..., list[Finding]]
  stage: str = 'data'


CHECKS = (
  Check(
    'no folder',
    ('error',),
    'A folder of images, masks or fields of view does not exist.',
    files.names,
  ),
  Check(
    'empty folder',
    ('error',),
    'A folder holds no file that can be read.',
    files.names,
  ),
  Check(
    'image without mask',
    ('error',),
    'Images lack a mask of their name.',
    files.names,
  ),
  Check(
    'mask without image',
    ('error', 'note'),
    'Masks lack an image of their name; a note where lists choose images.',
    files.names,
  ),
  Check(
    'image without field of view',
    ('error',),
    'Images lack a mask of the field of view.',
    files.names,
  ),
  Check(
    'ambiguous pair',
    ('error',),
    'Several files share a name, as a.png and a.jpg do.',
    files.names,
  ),
  Check(
    'empty list',
    ('error',),
    'A list names no image.',
    files.names,
  ),
  Check(
    'no train list',
    ('error',),
    'There is a list of val or test, and no train.txt.',
    files.names,
  ),
  Check(
    'listed without file',
    ('error',),
    'A list names images that do not exist.',
    files.names,
  ),
  Check(
    'listed twice',
    ('error',),
    'A name is listed more than once.',
    files.names,
  ),
  Check(
    'unlisted images',
    ('note',),
    'Images are in no list, so training does not use them.',
    files.names,
  ),
  Check(
    'transposed mask',
    ('error',),
    "Masks have their image's width as height, and its height as width.",
    files.shapes,
  ),
  Check(
    'size mismatch',
    ('error',),
    'Masks have another size than their image.',
    files.shapes,
  ),
  Check(
    'EXIF rotation',
    ('error', 'warning', 'note'),
    'EXIF turns images; an error where the masks are not turned with them.',
    files.shapes,
  ),
  Check(
    'unreadable file',
    ('error',),
    'Files are damaged, or of a format that can not be decoded.',
    files.unreadable,
  ),
  Check(
    'mixed mask scale',
    ('error',),
    'Some masks have 0 and 1, others 0 and 255.',
    values.mixed_scale,
  ),
  Check(
    'undeclared mask values',
    ('error',),
    'Masks have values that the config gives no meaning.',
    values.undeclared,
  ),
  Check(
    'off by one',
    ('warning',),
    'No index mask has a 0; the indices may count from 1.',
    values.no_background,
  ),
  Check(
    'agreement levels',
    ('note',),
    'Masks have grey levels, as for how many experts agree.',
    values.graded,
  ),
  Check(
    'constant image',
    ('warning',),
    'Images have one value all over.',
    images.blank,
  ),
  Check(
    'near-black image',
    ('warning',),
    'Images are nearly black.',
    images.blank,
  ),
  Check(
    'NaN in image',
    ('error',),
    'Images have NaN or infinity.',
    images.not_finite,
  ),
  Check(
    'mixed ranges',
    ('error', 'warning'),
    'Images differ in the range of their values, as 0 to 1 and 0 to 255 do.',
    images.ranges,
  ),
  Check(
    'mixed channels',
    ('note',),
    'Images differ in channels or type, as grey and RGB do.',
    images.ranges,
  ),
  Check(
    'colour shift',
    ('warning',),
    'The images of a split differ from train in brightness or colour.',
    images.colour_shift,
  ),
  Check(
    'overlapping classes',
    ('warning', 'note'),
    'Pixels are of several classes, and the task keeps one class of them.',
    regions.overlaps,
  ),
  Check(
    'no overlaps',
    ('note',),
    'No pixel is of two classes, though the task allows it.',
    regions.overlaps,
  ),
  Check(
    'vanishing components',
    ('warning', 'note'),
    'config.data.resize makes connected components smaller than 2 pixels.',
    regions.shrinking,
  ),
  Check(
    'outside the view',
    ('warning',),
    'Foreground lies on the black surround of retinal photographs.',
    regions.outside_view,
  ),
  Check(
    'small images',
    ('note',),
    'Train images are smaller than a crop, which is filled up with void.',
    regions.small_images,
  ),
  Check(
    'duplicate images',
    ('warning', 'note'),
    'Images have the same pixels; a warning across splits.',
    splits.duplicates,
  ),
  Check(
    'near duplicates',
    ('warning', 'note'),
    'Images are nearly the same; a warning across splits.',
    splits.near_duplicates,
  ),
  Check(
    'identical masks',
    ('warning',),
    'Different images have the same mask.',
    splits.identical_masks,
  ),
  Check(
    'group leakage',
    ('error', 'warning'),
    'A group, such as the images of a patient, lies in several splits.',
    splits.group_leakage,
  ),
  Check(
    'absent class',
    ('error', 'warning'),
    'A split has no pixel of a class; an error where train lacks every class.',
    classes.absent,
  ),
  Check(
    'foreground is void',
    ('error',),
    'Index masks have no class in train, and have 255, which is void.',
    classes.absent,
  ),
  Check(
    'rare class',
    ('warning', 'note'),
    'Few train images, or few pixels of train, have a class.',
    classes.rare,
  ),
  Check(
    'mostly foreground',
    ('warning',),
    'Most pixels are foreground; the masks may be inside out.',
    classes.inside_out,
  ),
  Check(
    'present in all',
    ('note',),
    'Every train image has the class.',
    classes.everywhere,
  ),
  Check(
    'empty images',
    ('warning', 'note'),
    'Images have no foreground; a warning if most train images have none.',
    classes.empty,
  ),
  Check(
    'distribution shift',
    ('warning',),
    'Far more or far fewer images have a class in train than in another split.',
    splits.shift,
  ),
  Check(
    'steps per epoch',
    ('note',),
    'How often the run sees each train image.',
    run.length,
  ),
  Check(
    'short run',
    ('warning',),
    'The run ends before it has seen every train image.',
    run.length,
  ),
  Check(
    'batch size',
    ('error', 'note'),
    'The devices can not share a batch, or a batch repeats images.',
    run.batch,
  ),
  Check(
    'set refused',
    ('error',),
    'Training refuses the data set for a reason that no other finding gives.',
    refusals.refused,
  ),
  Check(
    'refused',
    ('error',),
    'Training refuses examples for a reason that no other finding gives.',
    refusals.refused,
  ),
  Check(
    'device memory',
    ('error', 'warning', 'note'),
    'What a training step needs of the memory of a device.',
    memory.check,
    'step',
  ),
  Check(
    'overfit',
    ('error', 'note'),
    'Whether the run can learn two crops by heart; with --overfit.',
    overfit.check,
    'overfit',
  ),
)


def table() -> str:
  """Lays CHECKS out in Markdown, as docs/doctor.md has it: a row a line."""
  rows: list[tuple[str, ...]] = [('Finding', 'Severity', 'Meaning')]
  rows += [(x.title, ', '.join(x.severities), x.meaning) for x in CHECKS]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  rows.insert(1, tuple('-' * width for width in widths))
  lines = [
    ' | '.join(
      f'{text:<{width}}' for text, width in zip(row, widths, strict=True)
    )
    for row in rows
  ]
  return ''.join(f'| {line} |\n' for line in lines)

"""CHECKS: every finding that the doctor can make, in the order of the checks.

A new finding is a function that returns it, a row below that function, and a
test. The rows of the checks in data/checks, which every run makes, stand here.
"""

from unet_jax.data.checks import classes, run
from unet_jax.doctor import overfit
from unet_jax.doctor.check import Check
from unet_jax.doctor.checks import (
  files,
  images,
  memory,
  refusals,
  regions,
  splits,
  values,
)

CHECKS = (
  *files.CHECKS,
  *values.CHECKS,
  *images.CHECKS,
  *regions.CHECKS,
  *splits.CHECKS,
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
    'Most pixels are foreground; the masks may be inverted.',
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
    'The devices cannot share a batch, or a batch repeats images.',
    run.batch,
  ),
  *refusals.CHECKS,
  *memory.CHECKS,
  *overfit.CHECKS,
)


def table() -> str:
  """Returns CHECKS as the Markdown table of docs/doctor.md."""
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

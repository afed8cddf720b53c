"""Finds mask values that the config does not declare, or reads wrongly."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data import labels, spec
from unet_jax.data import values as codes
from unet_jax.data.checks.finding import Finding, flag, plural, some
from unet_jax.data.stored import File
from unet_jax.doctor.check import Check
from unet_jax.doctor.checks import meanings
from unet_jax.doctor.survey import Survey


def gather(
  survey: Survey,
) -> tuple[list[meanings.MaskFolder], list[meanings.MaskFolder]]:
  """Adds up the values of each mask folder, without 1-bit files.

  Returns:
    The folders whose values are codes of classes, and the folders whose values
    a threshold cuts. One of the lists is empty.
  """
  masks_of: dict[str, list[File]] = {}
  for record in survey.records:
    for name, mask in record.masks.items():
      if mask.kind != '1':
        masks_of.setdefault(name, []).append(mask)
  folders = []
  for name, masks in masks_of.items():
    if any(isinstance(x, str) for mask in masks for x in mask.values):
      masks = [_as_colours(mask) for mask in masks]
    total: dict[int | str, int] = {}
    for mask in masks:
      for value, count in mask.values.items():
        total[value] = total.get(value, 0) + count
    folders.append(meanings.MaskFolder(name, masks, total))
  if spec.read(survey.config).encoding in config_lib.PLANES:
    return [], folders
  return folders, []


def _as_colours(mask: File) -> File:
  """Returns a mask whose grey values are colours, as those of others are."""
  values: dict[int | str, int] = {
    value if isinstance(value, str) else f'#{value * 0x010101:06x}': count
    for value, count in mask.values.items()
  }
  return mask._replace(values=values)


def mixed_scale(
  survey: Survey, codes: Sequence[meanings.MaskFolder]
) -> list[Finding]:
  """Finds data sets with masks of 0 and 1 and masks of 0 and 255."""
  data, findings = survey.config.data, []
  for folder in codes:
    ones, full = _scales(survey, folder)
    if not ones or not full:
      continue
    fewer = min(ones, full, key=len)
    settings = {}
    if len(survey.classes) == 1:
      names = (data.background, *survey.classes)
      settings = meanings.to_merge(names, [(0,), (1, 255)], mask='binary')
    findings.append(
      Finding(
        'error',
        'mixed mask scale',
        text=f'{plural(len(ones), "mask")} of 0 and 1 beside {len(full)} of 0 '
        f'and 255: {some([mask.path for mask in fewer])}',
        remedy='scale the listed masks like the others, or read 1 as 255',
        files=tuple(mask.path for mask in fewer),
        number=len(fewer),
        settings=settings,
      )
    )
  return findings


def undeclared(
  survey: Survey,
  codes: Sequence[meanings.MaskFolder],
  levels: Sequence[meanings.MaskFolder],
) -> list[Finding]:
  """Finds values that the config does not declare; proposes their meaning."""
  findings = [
    finding
    for folder in codes
    if not all(_scales(survey, folder))  # `mixed_scale` explains the others.
    for finding in _undeclared_codes(survey, folder)
  ]
  return [*findings, *_below_threshold(survey, levels)]


def _undeclared_codes(
  survey: Survey, folder: meanings.MaskFolder
) -> list[Finding]:
  declared = _declared(survey)
  faulty = [mask for mask in folder.masks if set(mask.values) - declared]
  if not faulty:
    return []
  values = sorted(
    {x for mask in faulty for x in mask.values} - declared, key=str
  )
  pixels = sum(
    count
    for mask in faulty
    for value, count in mask.values.items()
    if value not in declared
  )
  meaning, settings = meanings.explain(
    folder, survey.classes, survey.config.data.background
  )
  if 'data.classes' in settings and survey.config.task == 'binary':
    settings['task'] = 'multiclass'
  return [
    Finding(
      'error',
      'undeclared mask values',
      text=f'{plural(len(faulty), "mask")} in {folder.name} with values that '
      f'the config does not declare, {some(values)}, in '
      f'{plural(pixels, "pixel")}: {meaning}',
      remedy='' if settings else 'save the masks as PNG with one value a class',
      files=tuple(mask.path for mask in faulty),
      number=len(faulty),
      settings=settings,
    )
  ]


def _below_threshold(
  survey: Survey, levels: Sequence[meanings.MaskFolder]
) -> list[Finding]:
  """Finds masks of 0 and 1 that the threshold would make empty."""
  threshold = survey.config.data.masks.threshold
  faulty = [
    mask
    for folder in levels
    for mask in folder.masks
    if set(mask.values) <= {0, 1} and 1 in mask.values
  ]
  if not faulty or threshold <= 1 or survey.config.data.masks.soft:
    return []
  has_more = any(max(folder.values) > 1 for folder in levels)
  return [
    Finding(
      'error',
      'undeclared mask values',
      text=f'{plural(len(faulty), "mask")} of 0 and 1, where '
      f'config.data.masks.threshold is {threshold}: they would be empty',
      remedy='scale them to 0 and 255 like the others' if has_more else '',
      files=tuple(mask.path for mask in faulty),
      number=len(faulty),
      settings={} if has_more else {'data.masks.threshold': 1},
    )
  ]


def no_background(
  survey: Survey, codes: Sequence[meanings.MaskFolder]
) -> list[Finding]:
  """Finds index masks that have no 0, as if the indices counted from 1."""
  data, classes = survey.config.data, survey.classes
  if data.masks.kind != 'index' or data.masks.merge or not data.background:
    return []  # Without a background, 0 is a class that has no pixel.
  return [
    Finding(
      'warning',
      'off by one',
      text=f'no mask has 0, which is {data.background}: the indices may count '
      f'from 1, so that 1 is not {classes[0]}',
      remedy='if every pixel has a class, ignore this; otherwise list the '
      'values of each class in config.data.masks.merge',
      files=tuple(mask.path for mask in folder.masks),
      number=len(folder.masks),
    )
    for folder in codes
    if 0 not in folder.values
    and set(folder.values) & set(range(1, len(classes) + 1))
    and len(classes) + 1 not in folder.values  # `undeclared` explains these.
  ]


def graded(
  survey: Survey, levels: Sequence[meanings.MaskFolder]
) -> list[Finding]:
  """Finds masks of agreement levels, and how much of them a threshold keeps."""
  data = survey.config.data
  by_step: dict[int, list[meanings.MaskFolder]] = {}
  for folder in levels:
    step = meanings.level_step(sorted(folder.values))
    by_step.setdefault(step, []).append(folder)
  by_step.pop(0, None)
  if data.masks.soft:
    return []
  findings = []
  for step, group in by_step.items():
    total: collections.Counter[int] = collections.Counter()
    for folder in group:
      total.update(folder.values)
    top, half = max(total), _level_from(total, 0.5)
    marked = sum(count for value, count in total.items() if value)
    effect = [
      f'{100 * _sum_from(total, low) / max(1, marked):.0f} % are {low} or more'
      for low in sorted({data.masks.threshold, half, _level_from(total, 0.75)})
    ]
    soft = flag('data.masks.soft', top)
    if survey.config.task == 'multiclass':
      soft = f'{flag("task", "multilabel")} {soft}'
    findings.append(
      Finding(
        'note',
        'agreement levels',
        text=f'{", ".join(x.name for x in group)}: {len(total)} grey levels, '
        f'{step} apart from 0 to {top}, as for how many experts agree. Of the '
        f'marked pixels {", ".join(effect)}; config.data.masks.threshold is '
        f'{data.masks.threshold}',
        remedy=f'for a majority {flag("data.masks.threshold", half)}, or as '
        f'probabilities {soft}',
        number=len(total),
      )
    )
  return findings


def _level_from(total: Mapping[int, int], share: float) -> int:
  """Returns the least level that is `share` of the highest, or more."""
  return min(value for value in total if value >= share * max(total))


def _sum_from(total: Mapping[int, int], low: int) -> int:
  return sum(count for value, count in total.items() if value >= low)


def _scales(
  survey: Survey, folder: meanings.MaskFolder
) -> tuple[list[File], list[File]]:
  """Returns the masks of 0 and 1, and those of 0 and 255.

  Both lists are empty if the config itself says what values mean.
  """
  data = survey.config.data
  if data.masks.void or data.masks.merge:
    return [], []
  ones = [mask for mask in folder.masks if set(mask.values) == {0, 1}]
  return ones, [mask for mask in folder.masks if set(mask.values) == {0, 255}]


def _declared(survey: Survey) -> set[int | str]:
  """Returns the values that the config gives a meaning."""
  try:
    table = labels.make_coding(spec.read(survey.config), survey.classes).table
  except errors.InputError:
    return set()
  places = np.flatnonzero(table != codes.UNDECLARED).tolist()
  is_colour = survey.config.data.masks.kind == 'color'
  return {f'#{place:06x}' if is_colour else place for place in places}


CHECKS = (
  Check(
    'mixed mask scale',
    ('error',),
    'Some masks have 0 and 1, others 0 and 255.',
    mixed_scale,
  ),
  Check(
    'undeclared mask values',
    ('error',),
    'Masks have values that the config gives no meaning.',
    undeclared,
  ),
  Check(
    'off by one',
    ('warning',),
    'No index mask has a 0; the indices may count from 1.',
    no_background,
  ),
  Check(
    'agreement levels',
    ('note',),
    'Masks have grey levels, as for how many experts agree.',
    graded,
  ),
)

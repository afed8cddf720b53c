"""What the values of masks mean: undeclared, graded, blurred, off by one."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data import labels, spec
from unet_jax.data import values as codes
from unet_jax.data.checks.finding import Finding, flag, plural, some
from unet_jax.doctor.checks import meanings
from unet_jax.doctor.survey import Survey


def check(survey: Survey) -> list[Finding]:
  """Runs every check of this file."""
  found = gather(survey)
  if spec.read(survey.config).encoding in config_lib.PLANES:
    return [*zero_and_one(survey, found), *graded(survey, found)]
  return [
    finding
    for seen in found
    for finding in (
      *(mixed_scale(survey, seen) or undeclared(survey, seen)),
      *no_background(survey, seen),
    )
  ]


def gather(survey: Survey) -> list[meanings.Seen]:
  """Adds up the values of each mask folder; 1-bit files are left out."""
  folders = {}
  for record in survey.records:
    for folder, mask in record.masks.items():
      if mask.kind != '1':
        folders.setdefault(folder, []).append(mask)
  found = []
  for folder, masks in folders.items():
    total = {}
    for mask in masks:
      for value, count in mask.values.items():
        total[value] = total.get(value, 0) + count
    found.append(meanings.Seen(folder, masks, total))
  return found


def mixed_scale(survey: Survey, seen: meanings.Seen) -> list[Finding]:
  """Finds masks of 0 and 1 beside masks of 0 and 255."""
  ones = [mask for mask in seen.masks if set(mask.values) == {0, 1}]
  full = [mask for mask in seen.masks if set(mask.values) == {0, 255}]
  data = survey.config.data
  if not ones or not full or data.void or data.merge:
    return []
  fewer = min(ones, full, key=len)
  settings = {}
  if len(survey.classes) == 1:
    names = (data.background, *survey.classes)
    settings = meanings.to_merge(names, [(0,), (1, 255)], mask='binary')
  return [
    Finding(
      'error',
      'mixed mask scale',
      f'{plural(len(ones), "mask")} of 0 and 1 beside {len(full)} of 0 and '
      f'255: {some([mask.path for mask in fewer])}',
      'scale the fewer of them as the others are, or take 1 for 255',
      tuple(mask.path for mask in fewer),
      len(fewer),
      settings,
    )
  ]


def undeclared(survey: Survey, seen: meanings.Seen) -> list[Finding]:
  """Finds values that the config doesn't name, and proposes what they mean."""
  declared = _declared(survey)
  faulty = [mask for mask in seen.masks if set(mask.values) - declared]
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
  what, settings = meanings.explain(
    seen, survey.classes, survey.config.data.background
  )
  if 'data.classes' in settings and survey.config.task == 'binary':
    settings['task'] = 'multiclass'
  return [
    Finding(
      'error',
      'undeclared mask values',
      f'{plural(len(faulty), "mask")} in {seen.folder} with values that the '
      f'config does not declare, {some(values)}, in '
      f'{plural(pixels, "pixel")}: {what}',
      '' if settings else 'save the masks as PNG with one value a class',
      tuple(mask.path for mask in faulty),
      len(faulty),
      settings,
    )
  ]


def no_background(survey: Survey, seen: meanings.Seen) -> list[Finding]:
  """Finds index masks that never have the first of the values."""
  if survey.config.data.mask != 'index' or survey.config.data.merge:
    return []
  values = set(seen.values)
  classes = survey.classes
  if 0 in values or not values & set(range(1, len(classes) + 1)):
    return []
  if not survey.config.data.background or len(classes) + 1 in values:
    return []  # The former is classes[0] without a pixel; the latter, above.
  return [
    Finding(
      'warning',
      'off by one',
      f'no mask has a 0, {survey.config.data.background}: the indices may '
      f'count from 1, so that 1 is not {classes[0]}',
      'if every pixel is of a class, ignore this; else list the values of each '
      'class in config.data.merge',
      tuple(mask.path for mask in seen.masks),
      len(seen.masks),
    )
  ]


def zero_and_one(
  survey: Survey, found: Sequence[meanings.Seen]
) -> list[Finding]:
  """Finds masks of 0 and 1 that the threshold would take for empty."""
  threshold = survey.config.data.threshold
  faulty = [
    mask
    for seen in found
    for mask in seen.masks
    if set(mask.values) <= {0, 1} and 1 in mask.values
  ]
  if not faulty or threshold <= 1 or survey.config.data.soft:
    return []
  graded = any(max(seen.values) > 1 for seen in found)
  return [
    Finding(
      'error',
      'undeclared mask values',
      f'{plural(len(faulty), "mask")} of 0 and 1, where config.data.threshold '
      f'is {threshold}: they would be empty',
      'scale these to 0 and 255, as the others are' if graded else '',
      tuple(mask.path for mask in faulty),
      len(faulty),
      {} if graded else {'data.threshold': 1},
    )
  ]


def graded(survey: Survey, found: Sequence[meanings.Seen]) -> list[Finding]:
  """Finds masks of agreement levels, and what the threshold makes of them."""
  data, by_step = survey.config.data, {}
  for seen in found:
    by_step.setdefault(meanings.level_step(sorted(seen.values)), []).append(
      seen
    )
  by_step.pop(0, None)
  if data.soft:
    return []
  findings = []
  for step, group in by_step.items():
    total = collections.Counter()
    for seen in group:
      total.update(seen.values)
    top, half = max(total), _level_from(total, 0.5)
    marked = sum(count for value, count in total.items() if value)
    effect = [
      f'{100 * _sum_from(total, low) / max(1, marked):.0f} % are {low} or more'
      for low in sorted({data.threshold, half, _level_from(total, 0.75)})
    ]
    soft = flag('data.soft', top)
    if survey.config.task == 'multiclass':
      soft = f'{flag("task", "multilabel")} {soft}'
    findings.append(
      Finding(
        'note',
        'agreement levels',
        f'{", ".join(x.folder for x in group)}: {len(total)} grey levels, '
        f'{step} apart from 0 to {top}, as for how many experts agree. Of the '
        f'marked pixels {", ".join(effect)}; config.data.threshold is '
        f'{data.threshold}',
        f'for a majority {flag("data.threshold", half)}, or as probabilities '
        f'{soft}',
        number=len(total),
      )
    )
  return findings


def _level_from(total: Mapping[int, int], share: float) -> int:
  """Returns the least level that is `share` of the highest, or more."""
  return min(value for value in total if value >= share * max(total))


def _sum_from(total: Mapping[int, int], low: int) -> int:
  return sum(count for value, count in total.items() if value >= low)


def _declared(survey: Survey) -> set[int | str]:
  """Returns the values that the config gives a meaning."""
  try:
    table = labels.make_coding(spec.read(survey.config), survey.classes).table
  except errors.InputError:
    return set()
  places = np.flatnonzero(table != codes.UNDECLARED).tolist()
  is_colour = survey.config.data.mask == 'color'
  return {f'#{place:06x}' if is_colour else place for place in places}

"""What the values of masks mean: undeclared, graded, blurred, off by one."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unet_jax import config as config_lib
from unet_jax.data import labels
from unet_jax.data import values as codes
from unet_jax.data.checks.finding import Finding, flag, plural, some
from unet_jax.data.survey import Stored, Survey

MAX_COLOURS = 32  # More are no code of classes.
MAX_LEVELS = 32
MIN_STEP = 8  # Between levels; indices are next to each other.
EXTREMES = 32  # Values from 0 or 255 on that a blurred mask's ends take;
PEAKS = 0.8  # and the share of its pixels that they have.


class Seen(NamedTuple):
  """The masks of one folder, taken together."""

  folder: str
  masks: Sequence[Stored]
  values: Mapping[Any, int]  # Value or colour -> pixels.


def check(survey: Survey) -> list[Finding]:
  """Runs every check of this file."""
  found = gather(survey)
  if survey.config.data.mask in config_lib.PLANES:
    return [*zero_and_one(survey, found), *graded(survey, found)]
  return [
    finding
    for seen in found
    for finding in (
      *(mixed_scale(survey, seen) or undeclared(survey, seen)),
      *void_alone(survey, seen),
      *no_background(survey, seen),
    )
  ]


def gather(survey: Survey) -> list[Seen]:
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
    found.append(Seen(folder, masks, total))
  return found


def mixed_scale(survey: Survey, seen: Seen) -> list[Finding]:
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
    settings = _map(names, [(0,), (1, 255)], mask='binary')
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


def undeclared(survey: Survey, seen: Seen) -> list[Finding]:
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
  what, settings = explain(survey, seen)
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


def explain(survey: Survey, seen: Seen) -> tuple[str, dict[str, Any]]:
  """Says what the values look like, and the config keys that read them so."""
  classes, background = survey.classes, survey.config.data.background
  names = labels.class_names('multiclass', classes, background)
  if any(isinstance(value, str) for value in seen.values):
    return _explain_colours(seen, names, len(classes))
  values = sorted(seen.values)
  if any(mask.format == 'JPEG' for mask in seen.masks):
    return _explain_blurred(seen, names, 'JPEG has blurred the values')
  if values == [0, 1]:
    return '0 and 1 are indices', {'data.mask': 'index'}
  if values == [0, 255] and len(names) == 2:
    return '255 is the foreground', {'data.mask': 'binary'}
  if values == [*range(len(values))] and len(values) > len(names):
    more = tuple(f'class_{i}' for i in values[len(names) :])
    text = f'{len(values)} indices, of which the config names {len(names)}'
    return text, {'data.mask': 'index', 'data.classes': (*classes, *more)}
  if len(values) == len(names):
    text = 'a value a class; look whether their order is that of the classes'
    if values == [*range(1, len(names) + 1)]:
      text = 'the indices count from 1, where 0 is expected'
    return text, _map(names, [(value,) for value in values], mask='index')
  if len(values) == 3 and values[::2] == [0, 255] and len(names) == 2:
    text = f'{values[1]}, between background and foreground, may be void'
    return text, {'data.mask': 'binary', 'data.void': (values[1],)}
  step = level_step(values)
  if step and len(names) == 2:
    text = f'levels {step} apart, as experts agree; the upper half is taken'
    return text, _halves(names, values, (values[-1] + 1) / 2)
  return _explain_blurred(seen, names, 'values between, as of smoothed edges')


def void_alone(survey: Survey, seen: Seen) -> list[Finding]:
  """Finds index masks of 0 and 255, which is void there."""
  data = survey.config.data
  is_default = data.mask == 'index' and not data.merge and not data.void
  if not is_default or sorted(seen.values) != [0, 255]:
    return []
  is_binary = len(survey.classes) == 1
  return [
    Finding(
      'error',
      'foreground is void',
      f'the masks in {seen.folder} have 0 and 255 alone, which is void in an '
      'index mask, so that nothing is marked',
      '' if is_binary else 'correct the masks or config.data.mask',
      tuple(mask.path for mask in seen.masks),
      len(seen.masks),
      {'data.mask': 'binary'} if is_binary else {},
    )
  ]


def no_background(survey: Survey, seen: Seen) -> list[Finding]:
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


def zero_and_one(survey: Survey, found: Sequence[Seen]) -> list[Finding]:
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


def graded(survey: Survey, found: Sequence[Seen]) -> list[Finding]:
  """Finds masks of agreement levels, and what the threshold makes of them."""
  data, by_step = survey.config.data, {}
  for seen in found:
    by_step.setdefault(level_step(sorted(seen.values)), []).append(seen)
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


def level_step(values: Sequence[int]) -> int:
  """Returns g where values are 3 or more multiples of a g, else 0."""
  if any(isinstance(value, str) for value in values):
    return 0
  step = math.gcd(*values)
  is_graded = 3 <= len(values) <= MAX_LEVELS and step >= MIN_STEP
  return step if is_graded else 0


def _explain_colours(
  seen: Seen, names: Sequence[str], num_classes: int
) -> tuple[str, dict[str, Any]]:
  """Proposes a class for each colour: black or the commonest is background."""
  colours = sorted(seen.values, key=seen.values.get, reverse=True)
  if len(colours) > MAX_COLOURS:
    is_jpeg = any(mask.format == 'JPEG' for mask in seen.masks)
    why = ', JPEG has blurred them' if is_jpeg else ''
    return f'{len(colours)} colours are no code of classes{why}', {}
  text = f'{len(colours)} colours, one a class; look which is which'
  settings = {'data.mask': 'color'}
  if len(names) > num_classes:
    first = '#000000' if '#000000' in colours else colours[0]
    colours = [first, *sorted(x for x in colours if x != first)]
    text += f' ({first} is taken for {names[0]})'
  if len(colours) != len(names):
    names = names[: len(names) - num_classes]
    more = tuple(f'color_{x[1:]}' for x in colours[len(names) :])
    names, settings['data.classes'] = (*names, *more), more
  return text, settings | _map(names, [(colour,) for colour in colours])


def _explain_blurred(
  seen: Seen, names: Sequence[str], why: str
) -> tuple[str, dict[str, Any]]:
  """Proposes to cut at 128, if there are but two classes and two peaks."""
  ends = sum(
    count
    for value, count in seen.values.items()
    if value < EXTREMES or value > 255 - EXTREMES
  )
  if len(names) != 2 or ends < PEAKS * sum(seen.values.values()):
    return f'{why}; which class a pixel is of can not be told', {}
  text = f'{why} of 0 and 255; from 128 on it is taken for 255'
  return text, _halves(names, range(256), 128)


def _halves(names, values: Sequence[int], cut: float) -> dict[str, Any]:
  low = tuple(value for value in values if value < cut)
  high = tuple(value for value in values if value >= cut)
  return _map(names, [low, high], mask='binary')


def _map(names, values: Sequence[tuple], mask: str = '') -> dict[str, Any]:
  """Returns the settings that give each name its values."""
  merge = dict(zip(names, values, strict=True))
  return ({'data.mask': mask} if mask else {}) | {'data.merge': merge}


def _level_from(total: Mapping[int, int], share: float) -> int:
  """Returns the least level that is `share` of the highest, or more."""
  return min(value for value in total if value >= share * max(total))


def _sum_from(total: Mapping[int, int], low: int) -> int:
  return sum(count for value, count in total.items() if value >= low)


def _declared(survey: Survey) -> set[int | str]:
  """Returns the values that the config gives a meaning."""
  try:
    table = labels.make_coding(survey.config, survey.classes).table
  except config_lib.InputError:
    return set()
  places = np.flatnonzero(table != codes.UNDECLARED).tolist()
  is_colour = survey.config.data.mask == 'color'
  return {f'#{place:06x}' if is_colour else place for place in places}

"""Guesses what mask values mean, and proposes a config that reads them so."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unet_jax.data import codes, labels, mask_files
from unet_jax.data.stored import File

MAX_COLOURS = 32  # More colours do not stand for classes.
MAX_LEVELS = 32
MIN_STEP = 8  # Least step between grey levels; indices have a step of 1.
EXTREMES = 32  # Values within this of 0 or 255 are the ends of a blurred mask.
PEAKS = 0.8  # Least share of a blurred mask's pixels that are at the ends.


class MaskFolder(NamedTuple):
  """The masks of one folder, with their values added up."""

  name: str
  masks: Sequence[File]
  values: Mapping[Any, int]  # Value or colour -> pixels.


def explain(
  folder: MaskFolder, classes: Sequence[str], background: str
) -> tuple[str, dict[str, Any]]:
  """Returns what the values seem to mean, and settings that read them so."""
  names = labels.class_names('multiclass', classes, background)
  if any(isinstance(value, str) for value in folder.values):
    return _explain_colours(folder, names, len(classes))
  values = sorted(folder.values)
  if any(mask.format == 'JPEG' for mask in folder.masks):
    return _explain_blurred(folder, names, 'JPEG has blurred the values')
  if values == [0, 1]:
    return '0 and 1 are indices', {'data.masks.kind': 'index'}
  if values == [0, 255] and len(names) == 2:
    return '255 is the foreground', {'data.masks.kind': 'binary'}
  if len(values) > mask_files.MOST_CLASSES and values[-1] > codes.VOID:
    text = f'{len(values)} values number objects, which are one class'
    settings = {'task': 'binary', 'data.masks.kind': 'index'}
    name = tuple(classes[:1]) or ('foreground',)
    return text, settings | {'data.classes': name}
  if values == [*range(len(values))] and len(values) > len(names):
    more = tuple(f'class_{i}' for i in values[len(names) :])
    text = f'{len(values)} indices, of which the config names {len(names)}'
    return text, {'data.masks.kind': 'index', 'data.classes': (*classes, *more)}
  if len(values) == len(names):
    text = 'one value per class; check that they have the order of the classes'
    if values == [*range(1, len(names) + 1)]:
      text = 'the indices count from 1, where 0 is expected'
    return text, to_merge(names, [(value,) for value in values], mask='index')
  if len(values) == 3 and values[::2] == [0, 255] and len(names) == 2:
    text = f'{values[1]}, between background and foreground, may be void'
    return text, {'data.masks.kind': 'binary', 'data.masks.void': (values[1],)}
  step = level_step(values)
  if step and len(names) == 2:
    text = f'levels {step} apart, as for how many experts agree; the upper '
    text += 'half is read as foreground'
    return text, _halves(names, values, (values[-1] + 1) / 2)
  return _explain_blurred(folder, names, 'smoothing has blurred the values')


def level_step(values: Sequence[int]) -> int:
  """Returns the step g of 3 or more values that are multiples of g, else 0."""
  if any(isinstance(value, str) for value in values):
    return 0
  step = math.gcd(*values)
  is_graded = 3 <= len(values) <= MAX_LEVELS and step >= MIN_STEP
  return step if is_graded else 0


def _explain_colours(
  folder: MaskFolder, names: Sequence[str], num_classes: int
) -> tuple[str, dict[str, Any]]:
  """Proposes a class per colour; background is black or the most common."""
  colours = sorted(folder.values, key=folder.values.__getitem__, reverse=True)
  if len(colours) > MAX_COLOURS:
    is_jpeg = any(mask.format == 'JPEG' for mask in folder.masks)
    why = '; JPEG has blurred them' if is_jpeg else ''
    return f'{len(colours)} colours are too many for classes{why}', {}
  text = f'{len(colours)} colours, one per class; check which is which'
  settings: dict[str, Any] = {'data.masks.kind': 'color'}
  if len(names) > num_classes:
    first = '#000000' if '#000000' in colours else colours[0]
    colours = [first, *sorted(x for x in colours if x != first)]
    text += f' ({first} is read as {names[0]})'
  if len(colours) != len(names):
    names = names[: len(names) - num_classes]
    more = tuple(f'color_{x[1:]}' for x in colours[len(names) :])
    names, settings['data.classes'] = (*names, *more), more
  return text, settings | to_merge(names, [(colour,) for colour in colours])


def _explain_blurred(
  folder: MaskFolder, names: Sequence[str], why: str
) -> tuple[str, dict[str, Any]]:
  """Proposes a threshold of 128 if there are two classes and two peaks."""
  ends = sum(
    count
    for value, count in folder.values.items()
    if value < EXTREMES or value > 255 - EXTREMES
  )
  if len(names) != 2 or ends < PEAKS * sum(folder.values.values()):
    return f'{why}; the classes of pixels cannot be recovered', {}
  text = f'{why} of 0 and 255; values from 128 on are read as 255'
  return text, _halves(names, range(256), 128)


def _halves(names, values: Sequence[int], cut: float) -> dict[str, Any]:
  low = tuple(value for value in values if value < cut)
  high = tuple(value for value in values if value >= cut)
  return to_merge(names, [low, high], mask='binary')


def to_merge(names, values: Sequence[tuple], mask: str = '') -> dict[str, Any]:
  """Returns the settings that give each name its values."""
  merge = dict(zip(names, values, strict=True))
  kind = {'data.masks.kind': mask} if mask else {}
  return kind | {'data.masks.merge': merge}

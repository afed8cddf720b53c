"""Masks with one plane per class: bool, grey levels or floats -> 0 and 1, or 0
to 254 where labels are probabilities."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_jax import errors
from unet_jax.data import codes


def parts(mask: Mapping[Any, np.ndarray], coding, where: str) -> list[tuple]:
  """Returns, for each class, the keys of planes [H, W] whose union it is.

  The key of a folder is its name. The key of a file's plane is its number. A
  class that `merge` does not list has one plane; the planes follow that of the
  background, if the file has one.
  """
  if coding.encoding == 'folders':
    return [tuple(coding.merge.get(name, (name,))) for name in coding.classes]
  numbers, first = [key for key in mask if key not in coding.void], 0
  if not any(name in coding.merge for name in coding.classes):
    first = len(numbers) - len(coding.classes)
    if first not in (0, 1 if coding.background and not coding.soft else 0):
      raise errors.InputError(
        f'{where} has {len(mask)} planes, but there are {len(coding.classes)} '
        'classes; correct config.data.classes, or list the planes of each '
        'class in config.data.masks.merge'
      )
  default = numbers[first:] + [len(mask)] * len(coding.classes)
  chosen = [
    tuple(coding.merge.get(name, (number,)))
    for name, number in zip(coding.classes, default, strict=False)
  ]
  missing = [n for n in (*sum(chosen, ()), *coding.void) if n not in mask]
  if missing:
    raise errors.InputError(
      f'{where} has no plane {missing[0]}, only 0 to {len(mask) - 1}; correct '
      'config.data.masks.merge or config.data.masks.void'
    )
  if first:
    _check_background(mask, numbers, where)
  return chosen


def _check_background(mask: Mapping, numbers: list[int], where: str) -> None:
  """Refuses a background that isn't the complement of the other planes."""
  background, *others = (mask[i] for i in numbers)
  known = np.all(
    [plane != codes.VOID for plane in (background, *others)], axis=0
  )
  covered = np.any([plane != 0 for plane in others], axis=0)
  wrong = np.count_nonzero(known & ((background != 0) == covered))
  if wrong:
    raise errors.InputError(
      f'{where}: plane {numbers[0]} is not the background, since {wrong} of '
      'its pixels contradict the other planes; correct config.data.classes or '
      'config.data.masks.merge'
    )


def read(
  mask: Mapping[Any, np.ndarray], coding, where: str
) -> tuple[dict[Any, np.ndarray], np.ndarray, dict]:
  """Reads each plane as uint8[H, W] of 0 and 1, or of 0 to 254.

  Returns:
    The planes by key; bool[H, W], True where a pixel is void; and for planes of
    grey levels {key: number of pixels >= the threshold, and of pixels > 0}.
  """
  grades, marked = {}, {}
  void = np.zeros(next(iter(mask.values())).shape, bool)
  for key, plane in mask.items():
    if key in coding.void:
      void |= plane != 0
      continue
    is_void = np.zeros_like(void)
    if coding.encoding == 'planes' and plane.dtype.kind in 'iu':
      is_void, plane = (
        plane == codes.VOID,
        _as_bool(plane, f'{where}, plane {key}'),
      )
    name = f'{where}, {key}' if coding.encoding == 'folders' else where
    grade = _grade(plane, coding, name)
    grades[key] = np.where(is_void, 0, grade).astype(np.uint8)
    void |= is_void
    if plane.dtype != bool and not coding.soft:
      marked[key] = np.count_nonzero(grade), np.count_nonzero(plane)
  return grades, void, marked


def check_covered(covered: np.ndarray, void: np.ndarray, where: str) -> None:
  """Refuses pixels without a class where there is no background.

  Args:
    covered: bool[H, W], which pixels some class has.
    void: bool[H, W], which pixels do not count.
    where: the file, for messages.
  """
  rest = np.count_nonzero(~covered & ~void)
  if rest:
    raise errors.InputError(
      f'{where}: {rest} pixels belong to no class; name them in '
      'config.data.background, or list their mask in config.data.masks.void'
    )


def _as_bool(plane: np.ndarray, where: str) -> np.ndarray:
  """Turns integers [H, W] of 0 and 1 into bool[H, W]; void, 255, is False."""
  others = plane[(plane != 0) & (plane != 1) & (plane != codes.VOID)]
  if others.size:
    raise errors.InputError(
      f'{where}: value {others[0]} in {others.size} pixels; integer planes '
      'have 0 and 1, and 255 for void; correct the file, or store floats from '
      '0 to 1'
    )
  return plane == 1


def _grade(plane: np.ndarray, coding, where: str) -> np.ndarray:
  """Thresholds a plane to bool[H, W]; scales a soft one to uint8 0 to 254."""
  if plane.dtype == bool:
    return plane * np.uint8(codes.CERTAIN if coding.soft else 1)
  full = coding.soft
  if plane.dtype.kind == 'f':
    if not (plane.min() >= 0 and plane.max() <= 1):  # Also catches NaN.
      raise errors.InputError(
        f'{where}: float planes must be from 0 to 1, but this one is '
        f'{plane.min():.4g} to {plane.max():.4g}; scale it'
      )
    full, plane = 255, 255 * plane
  if coding.soft:
    if plane.max() > full:
      raise errors.InputError(
        f'{where}: value {plane.max()} is above config.data.masks.soft, '
        f'{full}, which means probability 1; raise the key, or correct the file'
      )
    return np.round(plane * (codes.CERTAIN / full)).astype(np.uint8)
  if plane.max() == 1 < coding.threshold and plane.dtype == np.uint8:
    raise errors.InputError(
      f'{where}: a mask of 0 and 1, where config.data.masks.threshold is '
      f'{coding.threshold}; use --config.data.masks.threshold=1'
    )
  return plane >= coding.threshold

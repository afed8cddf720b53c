"""Regions that overlap, vanish or lie outside the view; images below a crop."""

import math

import numpy as np

from unet_jax.data.checks.finding import Finding, percent, plural
from unet_jax.doctor.survey import Survey

SMALLEST = 2  # Pixels; a smaller component is as good as gone.
FRAME = 0.05  # Share of an image that a frame covers at least.
MOST = 0.8  # Share of the images; so many have a frame in a retinal set.
SOME = 100  # Pixels that a rough outline may have beyond the rim.
MANY = 0.01  # Share of components, or of the foreground's pixels.


def overlaps(survey: Survey) -> list[Finding]:
  """Finds overlaps that the task excludes, or planes without any overlap."""
  counted = [record for record in survey.records if record.counted]
  overlapping = [record for record in counted if record.counted.overlap]
  overlap = sum(record.counted.overlap for record in overlapping)
  if survey.config.task == 'multiclass' and overlap:
    marked = sum(int(record.counted.counts.sum()) for record in counted)
    return [
      Finding(
        'warning' if overlap > MANY * marked else 'note',
        'overlapping classes',
        text=f'classes overlap in {overlap} pixels, '
        f'{percent(overlap / marked)} of the foreground, in '
        f'{len(overlapping)} of {len(counted)} images; there the later of '
        f'{", ".join(survey.classes)} wins',
        remedy='to keep both, train overlapping planes',
        files=tuple(record.image.path for record in overlapping),
        number=overlap,
        settings={'task': 'multilabel'},
      )
    ]
  is_apart = len(survey.classes) > 1 and counted and not overlap
  if survey.config.task == 'multilabel' and is_apart:
    return [
      Finding(
        'note',
        'no overlaps',
        text='no pixel is of two classes: they could exclude each other',
        settings={'task': 'multiclass'},
      )
    ]
  return []


def shrinking(survey: Survey) -> list[Finding]:
  """Finds components that config.data.resize makes smaller than 2 pixels."""
  resize = survey.config.data.resize
  needed = [[] for _ in survey.classes]  # Longer side that keeps a component.
  paths = []
  for record in survey.records if resize else ():
    if record.counted and record.image:
      longer = max(record.image.size)
      sides = [
        longer * np.sqrt(SMALLEST / np.maximum(areas, SMALLEST))
        for areas in record.counted.areas
      ]
      for all_of_class, some_of_it in zip(needed, sides, strict=True):
        all_of_class.append(some_of_it)
      if any((x > resize).any() for x in sides):
        paths.append(record.image.path)
  if not paths:
    return []
  needed = [np.concatenate(sides) for sides in needed]
  parts = [
    f'{np.count_nonzero(sides > resize)} of {len(sides)} of {name}'
    for name, sides in zip(survey.classes, needed, strict=True)
    if (sides > resize).any()
  ]
  sides = np.concatenate(needed)
  lost, most = np.count_nonzero(sides > resize), np.quantile(sides, 0.95)
  return [
    Finding(
      'warning' if lost > MANY * len(sides) else 'note',
      'vanishing components',
      text=f'scaled to config.data.resize={resize}, connected components fall '
      f'below {SMALLEST} pixels: {", ".join(parts)}; {math.ceil(most)} keeps '
      f'95 % of all, {math.ceil(sides.max())} every one',
      files=tuple(paths),
      number=int(lost),
      settings={'data.resize': math.ceil(sides.max())},
    )
  ]


def outside_view(survey: Survey) -> list[Finding]:
  """Finds foreground on the black surround of retinal photographs."""
  counted = [record for record in survey.records if record.counted]
  framed = [record for record in counted if record.counted.frame > FRAME]
  if survey.config.data.fov or len(framed) < MOST * len(counted):
    return []  # The config leaves the frame out, or there is no frame.
  outside = [
    record
    for record in framed
    if record.counted.outside > max(SOME, MANY * record.counted.counts.sum())
  ]
  if not outside:
    return []
  pixels = sum(record.counted.outside for record in outside)
  return [
    Finding(
      'warning',
      'outside the view',
      text=f'{pixels} pixels of foreground in {plural(len(outside), "image")} '
      'lie on the black surround, where the camera saw nothing',
      remedy='look at these masks, whether they are shifted; to leave the '
      'frame out',
      files=tuple(record.image.path for record in outside),
      number=pixels,
      settings={'data.fov': 'estimate'},
    )
  ]


def small_images(survey: Survey) -> list[Finding]:
  """Finds train images smaller than the crop, which is then padded."""
  side, resize = survey.config.image_size, survey.config.data.resize
  small = []
  for record in survey.records:
    if record.split == 'train' and record.image:
      size = record.image.size
      scale = resize / max(size) if resize else 1
      if min(size) * scale < side:
        small.append((record, max(1, round(min(size) * scale))))
  if not small:
    return []
  shortest = min(side for _, side in small)
  return [
    Finding(
      'note',
      'small images',
      text=f'{plural(len(small), "train image")} with a side below '
      f'config.image_size={side}, down to {shortest}: crops are filled up with '
      'void',
      remedy='lower config.image_size, if void is much of the crops',
      files=tuple(record.image.path for record, _ in small),
      number=len(small),
    )
  ]

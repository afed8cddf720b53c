"""Finds regions that overlap, vanish, leave the view or do not fit a crop."""

import math

import numpy as np

from unet_jax.data.checks.classes import Tally
from unet_jax.data.checks.finding import Finding, percent, plural
from unet_jax.doctor import dataset_facts, planning
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey

SMALLEST = 2  # Pixels; a smaller component is practically gone.
FRAME = 0.05  # Least share of an image that counts as a frame.
MOST = 0.8  # Least share of the images that have a frame in a retinal set.
SOME = 100  # Pixels that a rough outline may have beyond the rim.
MANY = 0.01  # Share of components, or of the foreground's pixels.


def overlaps(survey: Survey) -> list[Finding]:
  """Finds overlaps that the task excludes, or planes without any overlap."""
  labelled = survey.with_label()
  overlapping = [record for record, label in labelled if label.overlap]
  overlap = sum(label.overlap for _, label in labelled)
  if survey.config.task == 'multiclass' and overlap:
    marked = sum(int(label.counts.sum()) for _, label in labelled)
    return [
      Finding(
        'warning' if overlap > MANY * marked else 'note',
        'overlapping classes',
        text=f'classes overlap in {overlap} pixels, '
        f'{percent(overlap / marked)} of the foreground, in '
        f'{len(overlapping)} of {len(labelled)} images; there the later of '
        f'{", ".join(survey.classes)} wins',
        remedy='to keep both, train overlapping planes',
        files=tuple(record.path for record in overlapping),
        number=overlap,
        settings={'task': 'multilabel'},
      )
    ]
  is_apart = len(survey.classes) > 1 and labelled and not overlap
  if survey.config.task == 'multilabel' and is_apart:
    return [
      Finding(
        'note',
        'no overlaps',
        text='no pixel has two classes: they could exclude each other',
        settings={'task': 'multiclass'},
      )
    ]
  return []


def shrinking(survey: Survey) -> list[Finding]:
  """Finds components that config.data.resize makes smaller than 2 pixels."""
  resize = survey.config.data.resize
  needed = []  # For each image and class, the sides that keep its components.
  paths = []
  for record, label in survey.with_label() if resize else ():
    if record.image:
      longer = max(record.image.size)
      needed.append(
        [
          longer * np.sqrt(SMALLEST / np.maximum(parts.areas, SMALLEST))
          for parts in label.components
        ]
      )
      if any((x > resize).any() for x in needed[-1]):
        paths.append(record.path)
  if not paths:
    return []
  by_class = [np.concatenate(x) for x in zip(*needed, strict=True)]
  parts = [
    f'{np.count_nonzero(sides > resize)} of {len(sides)} of {name}'
    for name, sides in zip(survey.classes, by_class, strict=True)
    if (sides > resize).any()
  ]
  sides = np.concatenate(by_class)
  num_vanished = np.count_nonzero(sides > resize)
  return [
    Finding(
      'warning' if num_vanished > MANY * len(sides) else 'note',
      'vanishing components',
      text=f'scaled to config.data.resize={resize}, connected components fall '
      f'below {SMALLEST} pixels: {", ".join(parts)}; '
      f'{math.ceil(np.quantile(sides, 0.95))} keeps 95 % of them, '
      f'{math.ceil(sides.max())} keeps all',
      files=tuple(paths),
      number=int(num_vanished),
      settings={'data.resize': math.ceil(sides.max())},
    )
  ]


def outside_view(survey: Survey) -> list[Finding]:
  """Finds foreground on the black surround of retinal photographs."""
  labelled = survey.with_label()
  framed = [pair for pair in labelled if pair[1].frame > FRAME]
  if survey.config.data.fov or len(framed) < MOST * len(labelled):
    return []  # The config leaves the frame out, or there is no frame.
  outside = [
    (record, label)
    for record, label in framed
    if label.outside > max(SOME, MANY * label.counts.sum())
  ]
  if not outside:
    return []
  pixels = sum(label.outside for _, label in outside)
  return [
    Finding(
      'warning',
      'outside the view',
      text=f'{pixels} pixels of foreground in {plural(len(outside), "image")} '
      'lie on the black surround, where the camera saw nothing',
      remedy='check whether these masks are shifted; to make the frame void',
      files=tuple(record.path for record, _ in outside),
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
      f'config.image_size={side}, down to {shortest}: crops are padded with '
      'void',
      remedy='lower config.image_size, if void is much of the crops',
      files=tuple(record.path for record, _ in small),
      number=len(small),
    )
  ]


def large_objects(survey: Survey, train: Tally) -> list[Finding]:
  """Finds objects of train and val that no crop shows whole, but could."""
  del train  # This check needs images for training.
  config, facts = survey.config, dataset_facts.gather(survey)
  known = {'data.resize': config.data.resize}
  case = planning.Case(facts, planning.Machine(), known)
  objects = [x for x in facts.classes if not x.is_line]
  big = max(objects, key=lambda x: x.side, default=None)
  if not big or case.scale * big.side <= config.image_size:
    return []
  planned = planning.plan(facts, planning.Machine(), {})
  settings = {key: planned[key][0] for key in ('data.resize', 'image_size')}
  scale = (settings['data.resize'] or facts.longest) / facts.longest
  if scale * big.side > settings['image_size']:
    return []  # Scaling would lose a thin class.
  return [
    Finding(
      'warning',
      'large objects',
      text=f'{big.name} is typically {case.scale * big.side:.0f} px long, and '
      f'a crop of config.image_size={config.image_size} shows a part of it',
      remedy='scale the images, or cut larger crops',
      number=sum(case.scale * x.side > config.image_size for x in objects),
      settings=settings,
    )
  ]


CHECKS = (
  Check(
    'overlapping classes',
    ('warning', 'note'),
    'Pixels have several classes, of which the task keeps one.',
    overlaps,
  ),
  Check(
    'no overlaps',
    ('note',),
    'No pixel has two classes, though the task allows it.',
    overlaps,
  ),
  Check(
    'vanishing components',
    ('warning', 'note'),
    'config.data.resize makes connected components smaller than 2 pixels.',
    shrinking,
  ),
  Check(
    'outside the view',
    ('warning',),
    'Foreground lies on the black surround of retinal photographs.',
    outside_view,
  ),
  Check(
    'small images',
    ('note',),
    'Train images are smaller than a crop, which is padded with void.',
    small_images,
  ),
  Check(
    'large objects',
    ('warning',),
    'Objects of a class are typically larger than a crop, which shows parts.',
    large_objects,
  ),
)

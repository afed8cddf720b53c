"""Facts of a data set that settings are planned by: sizes, objects, shares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax import errors
from unet_jax.doctor import statistics
from unet_jax.doctor.survey import Record, Survey

SPAN = 0.9  # An object of this share of its image is a region, such as a road.
LINE = 8  # A class whose objects are so many times as long as wide is a line.


class ClassFacts(NamedTuple):
  """What a class looks like in the images of train and val."""

  name: str
  share: float  # Of the pixels that are not void.
  side: float  # Longer side of its objects, pixels; 0 if it has only regions.
  width: float  # Pixels across; half the diameter of a disc.
  is_line: bool  # Whether it is long and thin, as vessels are.


class Facts(NamedTuple):
  """What the rules know of the images of train and val, at full size."""

  task: str
  has_background: bool
  longest: int  # Median of the longer sides of images, pixels.
  pixels: float  # Mean number of an image's pixels.
  num_train: int
  num_val: int
  classes: tuple[ClassFacts, ...]  # Those that occur.


def check(survey: Survey) -> None:
  """Raises InputError if training would refuse the data."""
  refusals = [survey.refusal, *(x.refusal for x in survey.records)]
  for refusal in filter(None, refusals):
    raise errors.InputError(f'{refusal}; unet-jax doctor lists all such faults')
  for record in survey.records:
    if record.damaged:
      path, fault = record.damaged[0]
      raise errors.InputError(f'{path}: {fault}; replace or remove it')


def gather(survey: Survey) -> Facts:
  """Gathers the facts of the readable images of train and val, at least one."""
  pairs = [(x, y) for x, y in survey.with_label() if x.split != 'test']
  splits = [record.split for record, _ in pairs]
  sizes = np.array([record.image.size for record, _ in pairs if record.image])
  total = max(1, sum(label.pixels for _, label in pairs))
  classes = [
    _gather_class(k, name, pairs, total)
    for k, name in enumerate(survey.classes)
    if any(label.counts[k] for _, label in pairs)
  ]
  return Facts(
    task=survey.config.task,
    has_background=bool(survey.config.data.background),
    longest=int(np.median(sizes.max(axis=1))),
    pixels=float(sizes.prod(axis=1).mean()),
    num_train=splits.count('train'),
    num_val=splits.count('val'),
    classes=tuple(classes),
  )


def _gather_class(
  k: int,
  name: str,
  pairs: Sequence[tuple[Record, statistics.LabelStatistics]],
  total: int,
) -> ClassFacts:
  """Gathers the facts of class k, which occurs in `total` pixels."""
  having = [(x.image, y) for x, y in pairs if x.image and y.counts[k]]
  areas = np.concatenate([y.components[k].areas for _, y in having])
  sides = np.concatenate([y.components[k].sides for _, y in having])
  spans = np.concatenate(
    [y.components[k].sides / max(image.size) for image, y in having]
  )
  # By Cauchy and Crofton an outline of length L crosses 4 L / pi sides of
  # pixels, over all directions; a line of width w has the area w L / 2.
  edges = max(1, sum(y.edges[k] for _, y in having))
  width = 2 * areas.sum() / edges * 4 / math.pi
  side = _typical(sides, areas)
  is_line = side > LINE * width
  if not is_line:
    is_object = spans < SPAN
    side = _typical(sides[is_object], areas[is_object])
  return ClassFacts(name, float(areas.sum() / total), side, width, is_line)


def _typical(sides: np.ndarray, areas: np.ndarray) -> float:
  """Returns the side that half of all area lies below; 0 if there is none."""
  if not len(sides):
    return 0.0
  order = np.argsort(sides)
  below = np.cumsum(areas[order])
  return float(sides[order][np.searchsorted(below, below[-1] / 2)])

"""Measures predicted masks strip by strip: areas, components, probabilities."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.sparse


class Measures(NamedTuple):
  """What is known of the strips so far, for each of K classes."""

  pixels: int  # The pixels of the image so far.
  area: np.ndarray  # int64[K], pixels of the class.
  probability: np.ndarray  # float64[K], sum over the pixels of the class.
  components: np.ndarray  # int64[K], of pixels that share a side.
  # int64[K, W]: the component of each pixel of the last row, from 1; 0: none.
  last: np.ndarray


def start(num_classes: int, width: int) -> Measures:
  """Returns the measures before the first strip of an image."""
  return Measures(
    pixels=0,
    area=np.zeros(num_classes, np.int64),
    probability=np.zeros(num_classes),
    components=np.zeros(num_classes, np.int64),
    last=np.zeros((num_classes, width), np.int64),
  )


def add(measures: Measures, planes: np.ndarray, probs: np.ndarray) -> Measures:
  """Adds the strip below the last one.

  Args:
    measures: from `start` or `add`.
    planes: bool[rows, W, K], the predicted masks.
    probs: float32[rows, W, K].
  """
  components, last = measures.components.copy(), np.empty_like(measures.last)
  for k in range(planes.shape[-1]):
    label, count = scipy.ndimage.label(planes[..., k])
    num_new, last[k] = _join(measures.last[k], label, count)
    components[k] += num_new
  sums = np.sum(probs, axis=(0, 1), where=planes, dtype=np.float64)
  return Measures(
    pixels=measures.pixels + planes.shape[0] * planes.shape[1],
    area=measures.area + planes.sum(axis=(0, 1)),
    probability=measures.probability + sums,
    components=components,
    last=last,
  )


def _join(
  above: np.ndarray, label: np.ndarray, count: int
) -> tuple[int, np.ndarray]:
  """Joins the components of a strip with those that touch it from above.

  Args:
    above: int64[W], the components of the row above the strip, from 1.
    label: int[rows, W], the components of the strip, from 1.
    count: number of them.

  Returns:
    By how many the strip increases the number of components, which is negative
    if it joins some; and the components of its last row, int64[W].
  """
  num_above = int(above.max(initial=0))
  size = num_above + count
  if not size:
    return 0, above
  touches = (above > 0) & (label[0] > 0)
  edges = scipy.sparse.coo_array(
    (
      np.ones(np.count_nonzero(touches)),
      (above[touches] - 1, label[0][touches] - 1 + num_above),
    ),
    (size, size),
  )
  total, joined = scipy.sparse.csgraph.connected_components(edges, False)
  row = label[-1]
  names = np.where(row > 0, joined[row + num_above - 1] + 1, 0)
  # From 1 without gaps, so that their number is the greatest.
  _, names_of = np.unique(np.append(names, 0), return_inverse=True)
  return total - num_above, names_of[:-1]

"""Connected components of masks, in NumPy."""

from typing import NamedTuple

import numpy as np


class Components(NamedTuple):
  """The connected components of a plane, in arbitrary order."""

  areas: np.ndarray  # int64[N], pixels.
  sides: np.ndarray  # int64[N], longer side of the bounding box, pixels.


def measure(plane: np.ndarray) -> Components:
  """Measures the 8-connected components of bool[H, W].

  Union-find on the runs of the rows: a run is linked with the runs that it
  touches in the row below, and gets the smallest index of all linked runs.
  """
  rows, starts, ends = _runs(plane)  # In row-major order.
  if not len(rows):
    return Components(np.zeros(0, np.int64), np.zeros(0, np.int64))
  # All rows lie in one line, with a gap of two places between them.
  stride = plane.shape[1] + 2
  below = (rows + 1) * stride
  first = np.searchsorted(rows * stride + ends, below + starts, side='left')
  last = np.searchsorted(rows * stride + starts, below + ends, side='right')
  touching = np.maximum(last - first, 0)
  upper = np.repeat(np.arange(len(rows)), touching)
  lower = np.arange(len(upper)) + np.repeat(
    first - (np.cumsum(touching) - touching), touching
  )
  root = _union(len(rows), upper, lower)
  top, bottom = _extent(root, rows, rows + 1)
  left, right = _extent(root, starts, ends)
  areas = np.bincount(root, weights=ends - starts).astype(np.int64)
  sides = np.maximum(bottom - top, right - left)
  is_root = root == np.arange(len(root))
  return Components(areas=areas[is_root[: len(areas)]], sides=sides[is_root])


def _extent(
  root: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns each root's least `first` and greatest `last`: int64[N] each."""
  low, high = first.copy(), last.copy()
  np.minimum.at(low, root, first)
  np.maximum.at(high, root, last)
  return low, high


def _runs(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns row, first column and column after the last: int64[N] each.

  A run is a stretch of True in a row of bool[H, W].
  """
  edges = np.diff(np.pad(plane, ((0, 0), (1, 1))).astype(np.int8), axis=1)
  rows, starts = np.nonzero(edges == 1)
  return rows, starts, np.nonzero(edges == -1)[1]


def _union(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns int64[count]: for each node, the least node linked with it.

  Args:
    count: number of nodes.
    a: int64[N], one end of each of N links.
    b: int64[N], the other end.
  """
  root = np.arange(count)
  while True:
    low = np.minimum(root[a], root[b])
    high = np.maximum(root[a], root[b])
    if np.array_equal(low, high):
      return root
    np.minimum.at(root, high, low)
    while not np.array_equal(root, root[root]):
      root = root[root]

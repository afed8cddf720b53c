"""Windows of one shape: where they lie in an image, and what they blend to.

An image that fits into a window is one window. A larger one is rows of windows,
which overlap by half. The network's logits of overlapping windows are averaged
with Gaussian weights, as in nnU-Net (Isensee et al. 2021, doi:10.1038/
s41592-020-01008-z), so that the middle of a window counts more than its edge.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

LEAST, MOST = 256, 1024  # Limits of the side of a window, in pixels.
SIGMA = 1 / 8  # Standard deviation of the weights, share of the side.


def choose(longest: int, depth: int) -> int:
  """Returns the side of the windows of a run whose images have `longest` sides.

  Half of it is a multiple of 2**depth, so that every window pools the pixels
  that the whole image would.
  """
  unit = max(64, 2 ** (depth + 1))
  return -(-min(max(longest, LEAST), MOST) // unit) * unit


def fits(shape: tuple[int, ...], window: int) -> bool:
  """Returns whether an image [H, W, ...] fits into one window."""
  return max(shape[:2]) <= window


def starts(side: int, window: int) -> range:
  """Returns the first pixels of the windows along a side of an image.

  They are half a window apart, and the last window may leave the image.
  """
  stride = window // 2
  return range(0, max(0, side - window) + stride, stride)


def cut(
  read: Callable[[slice], np.ndarray], shape: tuple[int, int], window: int
) -> Iterator[np.ndarray]:
  """Yields the windows of an image, row by row, from left to right.

  Args:
    read: slice of rows -> these rows of the image, [rows, W, C].
    shape: H and W.
    window: S, side of a window.

  Yields:
    [S, S, C]. What leaves the image, below and to the right, replicates
    its edge.
  """
  height, width = shape
  lefts, stride = starts(width, window), window // 2
  right = lefts[-1] + window - width
  rows = read(slice(0, min(window, height)))
  for top in starts(height, window):
    if top:  # The upper half has been read.
      new = read(slice(top + stride, min(top + window, height)))
      rows = np.concatenate([rows[stride:], new])
    below = window - len(rows)
    padding = ((0, below), (0, right), (0, 0))
    padded = np.pad(rows, padding, mode='edge') if below or right else rows
    for left in lefts:
      yield padded[:, left : left + window]


def blend(
  logits: Iterable[np.ndarray], shape: tuple[int, int], window: int
) -> Iterator[np.ndarray]:
  """Blends the logits of the windows that `cut` yields for an image.

  Args:
    logits: float32[S, S, K] of each window; no more of them are taken than
      the image has.
    shape: H and W of the image.
    window: S, side of a window.

  Yields:
    float32[rows, W, K], strips of at most S / 2 rows, from top to bottom.
  """
  height, width = shape
  windows = iter(logits)
  num_cols = len(starts(width, window))

  def rows_of_windows() -> Iterator[np.ndarray]:
    for _ in starts(height, window):
      row = itertools.islice(windows, num_cols)
      parts = list(_overlap(row, _shares(window)[None, :, None], axis=1))
      yield np.concatenate(parts, axis=1)[:, :width]

  left = height
  strips = _overlap(rows_of_windows(), _shares(window)[:, None, None], axis=0)
  for strip in strips:
    if left > 0:
      yield strip[:left]
    left -= len(strip)


def regroup(strips: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
  """Joins and cuts strips into strips of `rows`; the last may have fewer."""
  waiting: list[np.ndarray] = []
  for strip in strips:
    joined = np.concatenate([*waiting, strip])
    end = len(joined) - len(joined) % rows
    yield from np.split(joined[:end], range(rows, end, rows)) if end else ()
    waiting = [joined[end:]]
  yield from (strip for strip in waiting if len(strip))


def _overlap(
  parts: Iterable[np.ndarray], share: np.ndarray, *, axis: int
) -> Iterator[np.ndarray]:
  """Joins arrays that overlap by half along an axis; yields half an array each.

  Where two arrays overlap, `share` is the weight of the later one.
  """
  before = None
  for part in parts:
    first, second = np.split(part, 2, axis)
    yield first if before is None else before + share * (first - before)
    before = second
  if before is not None:
    yield before


def _shares(window: int) -> np.ndarray:
  """Returns the weight of the later of two windows where they overlap.

  float32[S / 2]: g(i) / (g(i) + g(i + S / 2)) with the Gaussian g about the
  middle of a window. The product of the weights of both axes is the share that
  a Gaussian in two dimensions gives.
  """
  offset = (np.arange(window) - (window - 1) / 2) / (SIGMA * window)
  weight = np.exp(-(offset**2) / 2)
  first, second = np.split(weight, 2)
  return (first / (first + second)).astype(np.float32)

"""Scores of outlines and centre lines, from two masks of one class.

Masks are bool[H, W]; void pixels are outside of both. A mask's border are its
pixels with one of 4 neighbours outside of it, and what lies beyond the image is
outside. A score is NaN where it is undefined; see each function.
"""

import math

import numpy as np
from scipy import ndimage

from unet_jax.evaluation import pictures

DIAGONAL_SHARE = 0.02  # Of the image's diagonal, Cheng et al. 2021.
TOLERANCE = 2.0  # Pixels, of the surface Dice.
PERCENTILE = 95.0  # Of the Hausdorff distance.
NAMES = ('boundary_iou', 'hd95', 'surface_dice', 'cl_dice')


def measure(pred: np.ndarray, truth: np.ndarray) -> dict[str, float]:
  """Returns the scores NAMES of bool[H, W] and bool[H, W]."""
  radius = near(pred.shape)
  # What lies outside of both masks changes nothing.
  (box,) = ndimage.find_objects((pred | truth).astype(np.uint8)) or [None]
  if box is None:
    return dict.fromkeys(NAMES, np.nan)
  pred, truth = pred[box], truth[box]
  return {
    'boundary_iou': boundary_iou(pred, truth, radius),
    **distances(pred, truth),
    'cl_dice': centerline_dice(pred, truth),
  }


def near(shape: tuple[int, ...]) -> int:
  """Returns how many pixels from an outline count in an image [H, W]."""
  return max(1, round(DIAGONAL_SHARE * math.hypot(*shape)))


def boundary_iou(pred: np.ndarray, truth: np.ndarray, radius: int) -> float:
  """Returns the IoU of the pixels near the outlines (arXiv:2103.16562).

  Near are the pixels of a mask that `radius` erosions by 3x3 remove. NaN if
  both masks are empty.
  """
  inner, outer = (_band(mask, radius) for mask in (pred, truth))
  union = np.count_nonzero(inner | outer)
  return np.count_nonzero(inner & outer) / union if union else np.nan


def _band(mask: np.ndarray, radius: int) -> np.ndarray:
  """Returns what `radius` erosions of bool[H, W] by 3x3 remove."""
  depth = ndimage.distance_transform_cdt(np.pad(mask, 1), 'chessboard')
  return mask & (depth[1:-1, 1:-1] <= radius)


def distances(pred: np.ndarray, truth: np.ndarray) -> dict[str, float]:
  """Returns hd95 in pixels, and surface_dice; NaN if a mask is empty.

  hd95 is the larger of both masks' 95th percentiles of the distances from their
  border to the other one's, as in MONAI; others pool the distances first.
  surface_dice is the share of both borders' pixels that lie within TOLERANCE of
  the other border (Nikolov et al. 2018, arXiv:1809.04430, by pixels).
  """
  if not pred.any() or not truth.any():
    return {'hd95': np.nan, 'surface_dice': np.nan}
  borders = [pictures.border(mask) for mask in (pred, truth)]
  away = [ndimage.distance_transform_edt(~border) for border in borders]
  lengths = away[1][borders[0]], away[0][borders[1]]
  near = sum(np.count_nonzero(length <= TOLERANCE) for length in lengths)
  return {
    'hd95': float(max(np.percentile(x, PERCENTILE) for x in lengths)),
    'surface_dice': near / sum(map(len, lengths)),
  }


def centerline_dice(pred: np.ndarray, truth: np.ndarray) -> float:
  """Returns clDice (Shit et al. 2021, arXiv:2003.07311, equation 2).

  It is the harmonic mean of the share of the prediction's centre line in the
  truth, and of the truth's in the prediction. NaN if a mask is empty.
  """
  if not pred.any() or not truth.any():
    return np.nan
  pairs = (skeleton(pred), truth), (skeleton(truth), pred)
  shares = [
    np.count_nonzero(line & mask) / np.count_nonzero(line)
    for line, mask in pairs
  ]
  return 2 * shares[0] * shares[1] / max(sum(shares), 1e-12)


def skeleton(mask: np.ndarray) -> np.ndarray:
  """Thins bool[H, W] to lines one pixel wide (Guo and Hall 1989, A1).

  Two passes take turns until neither removes a pixel.
  """
  height, width = mask.shape
  wide = np.pad(mask, 1).astype(np.uint8)
  inner = wide[1:-1, 1:-1]
  before, now = 0, int(inner.sum())
  while now != before:
    for removed in _REMOVED:
      code = np.zeros(mask.shape, np.uint8)
      for bit, (y, x) in enumerate(_NEIGHBOURS):
        code |= wide[y : y + height, x : x + width] << np.uint8(bit)
      inner[removed[code]] = 0
    before, now = now, int(inner.sum())
  return inner > 0


# Row and column of the neighbours of the pixel (1, 1), clockwise from above.
_NEIGHBOURS = (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0)


def _removed() -> list[np.ndarray]:
  """Returns for each pass which neighbourhoods lose their centre, bool[256].

  A bit of the index is a neighbour, clockwise from above.
  """
  near = np.arange(256) >> np.arange(8)[:, None] & 1 > 0  # [8, 256]
  after = np.roll(near, -1, axis=0)
  corners, sides = near[1::2], near[::2]
  num_components = (~sides & (corners | after[1::2])).sum(axis=0)
  pairs = near | after
  num_near = np.minimum(pairs[::2].sum(axis=0), pairs[1::2].sum(axis=0))
  is_end = (num_near < 2) | (num_near > 3)
  north, north_east, east, south_east, south, south_west, west, north_west = (
    near
  )
  is_removed = (num_components == 1) & ~is_end
  return [
    is_removed & ~((north | north_east | ~south_east) & east),
    is_removed & ~((south | south_west | ~north_west) & west),
  ]


_REMOVED = _removed()

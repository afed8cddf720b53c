"""Where a fundus camera saw: the bright disc in a black frame."""

import numpy as np
from PIL import Image, ImageFilter

FLAT = 0.5  # Corners as bright as this share of the inside are no frame.
EDGE = 0.3  # Share of the way from the frame's brightness to the inside's.


def estimate(image: np.ndarray) -> np.ndarray:
  """Estimates the field of view of uint8[H, W, C]: bool[H, W], True inside.

  The frame is as bright as the darkest corner. What is clearly brighter counts,
  and all between such pixels in both its row and its column, since the inside
  has dark spots. An image without a dark corner is all inside.
  """
  smooth = ImageFilter.BoxBlur(max(1, min(image.shape[:2]) // 250))
  bright = Image.fromarray(image.max(axis=-1)).filter(smooth)
  bright = np.asarray(bright, np.float32)
  rows, cols = (max(1, side // 20) for side in bright.shape)
  frame = min(
    np.median(bright[y, x])
    for y in (slice(0, rows), slice(-rows, None))
    for x in (slice(0, cols), slice(-cols, None))
  )
  inside = np.percentile(bright, 75)
  if frame >= FLAT * inside:
    return np.ones(bright.shape, bool)
  found = bright > frame + EDGE * (inside - frame)
  return _between(found, axis=0) & _between(found, axis=1)


def _between(found: np.ndarray, axis: int) -> np.ndarray:
  """Fills from the first to the last True along an axis."""
  after = np.logical_or.accumulate(found, axis=axis)
  before = np.flip(
    np.logical_or.accumulate(np.flip(found, axis), axis=axis), axis
  )
  return after & before

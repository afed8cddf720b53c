"""The field of view of a fundus camera: the bright disc in a black frame."""

import numpy as np
from PIL import Image, ImageFilter

FLAT = 0.5  # Share of the inside's brightness; brighter corners are no frame.
EDGE = 0.1  # Share of the way from the frame's brightness to the inside's.


def estimate(image: np.ndarray) -> np.ndarray:
  """Estimates the field of view of [H, W, C]: bool[H, W], True inside.

  The darkest corner belongs to the frame. Pixels brighter than all of that
  corner are inside. So are pixels between such pixels in both their row and
  their column, since the inside has dark spots. An image without a dark corner
  is all inside.
  """
  grey = image.max(axis=-1)
  if grey.dtype != np.uint8:  # Which the filter needs.
    low, high = float(grey.min()), float(grey.max())
    scale = 255 / (high - low) if high > low else 0.0
    grey = np.rint((grey.astype(np.float32) - low) * scale).astype(np.uint8)
  smooth = ImageFilter.BoxBlur(max(1, min(image.shape[:2]) // 200))
  smoothed = Image.fromarray(grey).filter(smooth)
  bright = np.asarray(smoothed, np.float32)  # [H, W]
  rows, cols = (max(1, side // 20) for side in bright.shape)
  corners = [
    bright[y, x]
    for y in (slice(0, rows), slice(-rows, None))
    for x in (slice(0, cols), slice(-cols, None))
  ]
  frame = min(corners, key=np.median).max()
  inside = np.percentile(bright, 75)
  if frame >= FLAT * inside:
    return np.ones(bright.shape, bool)
  is_bright = bright > frame + EDGE * (inside - frame)
  return _between(is_bright, axis=0) & _between(is_bright, axis=1)


def _between(mask: np.ndarray, axis: int) -> np.ndarray:
  """Fills bool[H, W] from the first to the last True along an axis."""
  after = np.logical_or.accumulate(mask, axis=axis)
  before = np.logical_or.accumulate(np.flip(mask, axis), axis=axis)
  return after & np.flip(before, axis)

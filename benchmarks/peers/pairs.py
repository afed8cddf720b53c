"""Image and mask pairs, and ranges, for all contestants of augment.py."""

import os

import numpy as np

# Degrees, shares of the side, degrees and shares, in both directions.
ROTATION, SHIFT, SHEAR, ZOOM = 15.0, 0.05, 5.0, 0.1
CORES = len(os.sched_getaffinity(0))


def make(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Draws images uint8[N, S, S, 3] and masks of 4 classes, uint8[N, S, S]."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
  return images, rng.integers(0, 4, (count, size, size), np.uint8)

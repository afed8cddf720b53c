"""What the contestants of augment.py have in common: pairs, and ranges."""

import os

import numpy as np

# Degrees and shares, to either side.
ROTATION, SHIFT, SHEAR, ZOOM = 15.0, 0.05, 5.0, 0.1
CORES = len(os.sched_getaffinity(0))


def make(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Draws uint8[N, S, S, 3] and masks of four classes, uint8[N, S, S]."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
  return images, rng.integers(0, 4, (count, size, size), np.uint8)

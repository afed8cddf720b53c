"""Building blocks of a drawing: geometry, noise and shapes."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Rng = np.random.Generator

SIZE = 256
FINE = 4  # Scale at which shapes are drawn; reducing them gives coverage.


class Eye(NamedTuple):
  """Positions and sizes in one picture, in pixels; points are (x, y)."""

  centre: np.ndarray
  radius: float
  disc: np.ndarray
  disc_radius: float
  macula: np.ndarray


def distance(point: np.ndarray) -> np.ndarray:
  """Returns float[256, 256], every pixel centre's distance from [x, y]."""
  y, x = np.mgrid[:SIZE, :SIZE] + 0.5
  return np.hypot(x - point[0], y - point[1])


def noise(rng: Rng, *cells: int) -> np.ndarray:
  """Returns smooth float32[256, 256]: octaves of variance 1, one per count."""
  total = np.zeros((SIZE, SIZE), np.float32)
  for count in cells:
    grid = rng.normal(size=(count, count)).astype(np.float32)
    fine = Image.fromarray(grid).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    total += np.asarray(fine)
  return total


def blob(
  rng: Rng,
  centre: np.ndarray,
  radius: float,
  *,
  stretch: float = 1.0,
  angle: float = 0.0,
  rough: float = 0.2,
) -> np.ndarray:
  """Returns the outline of an irregular ellipse, float[40, 2]."""
  theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
  size = np.full_like(theta, radius)
  for k in range(2, 8):
    wave = np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    size += radius * rough * rng.normal() * wave / np.sqrt(k)
  size = np.maximum(size, 0.5 * radius)
  x, y = size * np.cos(theta) * stretch, size * np.sin(theta) / stretch
  cos, sin = np.cos(angle), np.sin(angle)
  return centre + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def new_sheet() -> Image.Image:
  """Returns an empty sheet at the scale FINE, uint8[1024, 1024]."""
  return Image.new('L', (SIZE * FINE, SIZE * FINE))


def coverage(sheet: Image.Image, blur: float = 0.0) -> np.ndarray:
  """Reduces a sheet at the scale FINE to float32[256, 256] in [0, 1]."""
  reduced = sheet.reduce(FINE)
  if blur:
    reduced = reduced.filter(ImageFilter.GaussianBlur(blur))
  return np.asarray(reduced, np.float32) / 255


def fill(outlines: list, strengths: np.ndarray, blur: float) -> tuple:
  """Returns (shape, paint): coverage and visibility, float32[256, 256]."""
  shape, paint = new_sheet(), new_sheet()
  for outline, strength in zip(outlines, strengths, strict=True):
    corners = [tuple(corner) for corner in outline * FINE]
    ImageDraw.Draw(shape).polygon(corners, fill=255)
    ImageDraw.Draw(paint).polygon(corners, fill=int(255 * strength))
  return coverage(shape), coverage(paint, blur)

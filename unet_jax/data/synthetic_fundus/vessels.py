"""Grows the tree of vessels from the optic disc, and draws it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from unet_jax.data.synthetic_fundus import canvas

_STEP = 1.5  # Pixels between two points of a vessel.


class Sprout(NamedTuple):
  """The start of a vessel, and how the vessel grows."""

  point: np.ndarray
  heading: float
  radius: float
  length: float
  steer: Callable[[np.ndarray], float]  # Point -> heading to turn to.


def grow_tree(rng: canvas.Rng, eye: canvas.Eye) -> list:
  """Returns (float[n, 4], is_vein) for every vessel, thick ones first."""
  tree = []
  for is_vein in (False, True):
    occupied = np.zeros((canvas.SIZE // 4, canvas.SIZE // 4), bool)
    sprouts = _trunks(rng, eye, is_vein)
    while sprouts:
      path = _grow(rng, eye, sprouts.pop(0), occupied)
      if len(path) > 6:
        occupied[_cell(path[:, :2])] = True
        tree.append((path, is_vein))
        sprouts += _branches(rng, eye, path)
  return tree


def _trunks(rng: canvas.Rng, eye: canvas.Eye, is_vein: bool) -> list:
  """Returns the sprouts of arteries or veins that leave the disc."""
  sprouts = []
  width = rng.uniform(1.8, 2.2) if is_vein else rng.uniform(1.4, 1.7)
  for side in (-1, 1):
    height = rng.uniform(0.75, 1.0) + (0.15 if is_vein else -0.1)
    start = eye.disc + rng.normal(0, 0.15 * eye.disc_radius, 2)
    arcade = _arcade(eye, side, height)
    sprouts.append(Sprout(start, 1.5 * side, width, 260, arcade))
    nasal = side * rng.uniform(0.5, 1.25)
    thinner = width * rng.uniform(0.6, 0.85)
    sprouts.append(Sprout(start, nasal, thinner, 150, _straight(nasal)))
    inner = np.pi - side * rng.uniform(0.25, 0.8)
    sprouts.append(Sprout(start, inner, 0.75, 80, _straight(inner)))
  return sprouts


def _straight(heading: float) -> Callable[[np.ndarray], float]:
  """Returns a steering function with the same heading everywhere."""
  return lambda point: heading


def _arcade(eye: canvas.Eye, side: int, height: float) -> Callable:
  """Returns a steering function along a parabola around the macula."""
  reach = eye.disc[0] - eye.macula[0]

  def heading(point):
    along = max(eye.disc[0] - point[0], 2.0)
    away = side * (point[1] - eye.disc[1])
    target = height * reach * np.sqrt(along / reach)
    slope = target / (2 * along) + 0.05 * (target - away)
    return np.arctan2(side * slope, -1.0)

  return heading


def _grow(
  rng: canvas.Rng, eye: canvas.Eye, sprout: Sprout, occupied: np.ndarray
) -> np.ndarray:
  """Grows a vessel up to its length.

  Growth ends early at the edge of the field, in the fovea, or at another vessel
  of the same kind.

  Returns:
    float[n, 4]: x, y, heading and radius along the vessel's centre line.
  """
  point, heading, bend, path = sprout.point, sprout.heading, 0.0, []
  count = int(sprout.length / _STEP)
  for i in range(count):
    path.append((*point, heading, sprout.radius * (1 - 0.45 * i / count)))
    turn = sprout.steer(point) - heading
    bend = 0.9 * bend + rng.normal() * 0.035
    heading += bend + 0.1 * np.arctan2(np.sin(turn), np.cos(turn))
    point = point + _STEP * np.array([np.cos(heading), np.sin(heading)])
    is_out = np.hypot(*(point - eye.centre)) > eye.radius + 2
    is_in_fovea = np.hypot(*(point - eye.macula)) < 0.13 * eye.radius
    if is_out or is_in_fovea or (i > 8 and occupied[_cell(point)]):
      break
  return np.array(path)


def _cell(points: np.ndarray) -> tuple:
  """Returns row and column of the 4-pixel cells of float[N, 2] or [2]."""
  column, row = np.clip(points.T / 4, 0, canvas.SIZE // 4 - 1).astype(int)
  return row, column


def _branches(rng: canvas.Rng, eye: canvas.Eye, path: np.ndarray) -> list:
  """Returns the sprouts along a vessel, alternately to the left and right.

  The path is float[N, 4]: x, y, heading and radius along the centre line.
  """
  sprouts, side = [], rng.choice([-1, 1])
  i = int(rng.uniform(14, 34) / _STEP)
  while i < len(path):
    x, y, heading, radius = path[i]
    if radius < 0.65:
      break
    offset = side * rng.uniform(0.5, 1.1)
    target = heading + 0.7 * offset
    outward = np.arctan2(y - eye.disc[1], x - eye.disc[0])
    if np.cos(target - outward) > 0.1:  # Vessels don't run back to the disc.
      sprouts.append(
        Sprout(
          np.array([x, y]),
          heading + offset,
          max(0.55, radius * rng.uniform(0.4, 0.75)),
          rng.uniform(40, 100) * np.sqrt(radius),
          _straight(target),
        )
      )
    side = -side
    i += int(rng.uniform(12, 32) / _STEP)
  return sprouts


def draw_tree(tree: list) -> tuple:
  """Returns (shape, paint): coverage and visible blood, float32[256, 256]."""
  shape, blood, reflex = (canvas.new_sheet() for _ in range(3))
  for path, is_vein in tree[::-1]:
    depth = np.clip(0.25 + 0.4 * path[0, 3], 0.45, 1.0)
    _stroke(shape, path, 1.0, 1.0)
    _stroke(blood, path, 1.0, depth if is_vein else 0.75 * depth)
    if path[0, 3] > 1.2:
      _stroke(reflex, path, 0.3, 0.4 if is_vein else 0.6)
  paint = canvas.coverage(blood) * (1 - canvas.coverage(reflex, 0.3))
  return canvas.coverage(shape), paint


def _stroke(
  sheet: Image.Image, path: np.ndarray, scale: float, value: float
) -> None:
  """Draws a vessel, float[N, 4] from `_grow`, with radii times `scale`."""
  draw, fill = ImageDraw.Draw(sheet), int(255 * value)
  for (x0, y0, _, r), (x1, y1, *_) in zip(path, path[1:], strict=False):
    r *= canvas.FINE * scale
    x0, y0, x1, y1 = (canvas.FINE * v for v in (x0, y0, x1, y1))
    draw.line((x0, y0, x1, y1), fill=fill, width=round(2 * r))
    draw.ellipse((x0 - r, y0 - r, x0 + r, y0 + r), fill=fill)

"""Draws line plots as SVG, whose colours the page's style sheet sets."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 380, 260  # Units of the SVG, pixels at its full size.
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 24, 38  # Margins around the axes.
MOST_POINTS = 400  # A line with more is thinned out.
NUM_COLORS = 8  # Of the style sheet.


class Line(NamedTuple):
  """A line of a plot; NaN breaks it."""

  name: str
  x: np.ndarray  # float64[N]
  y: np.ndarray  # float64[N]
  marked: bool = False  # Whether each point has a dot.


class Axis(NamedTuple):
  """The name of an axis, and its range; without one it fits the lines."""

  name: str
  span: tuple[float, float] | None = None


def plot(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
  """Draws lines as `svg` does; returns an HTML figure with a legend."""
  legend = ''.join(
    f'<span class="line{i}">{html.escape(line.name)}</span>'
    for i, line in _numbered(lines)
    if line.name
  )
  return (
    f'<figure class="plot"><figcaption>{html.escape(title)}</figcaption>'
    f'{svg(title, lines, x, y)}<div class="legend">{legend}</div></figure>'
  )


def svg(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
  """Draws lines; returns an SVG of WIDTH and HEIGHT without a legend.

  Line i has the class `line` and i % NUM_COLORS, by which the style sheet
  colours it.

  Args:
    title: what the figure shows, for who cannot see it.
    lines: the lines, of which one or more have points.
    x: the horizontal axis.
    y: the vertical axis.
  """
  spans = [
    axis.span or _fit(np.concatenate([line[i] for line in lines]))
    for i, axis in ((1, x), (2, y))
  ]
  (left, right), (low, high) = spans
  scale_x = (WIDTH - LEFT - RIGHT) / (right - left)
  scale_y = (HEIGHT - TOP - BOTTOM) / (high - low)

  def place(point: tuple[float, float]) -> str:
    across = LEFT + (point[0] - left) * scale_x
    down = HEIGHT - BOTTOM - (point[1] - low) * scale_y
    return f'{across:.1f},{down:.1f}'

  parts = [*_grid(spans, place), *_names(x.name, y.name)]
  for i, line in _numbered(lines):
    points = [list(map(place, piece)) for piece in _pieces(line)]
    parts += [
      f'<polyline class="line{i}" points="{" ".join(piece)}"/>'
      for piece in points
    ]
    if line.marked:
      dots = (point.split(',') for piece in points for point in piece)
      parts += [
        f'<circle class="line{i}" cx="{a}" cy="{b}" r="3"/>' for a, b in dots
      ]
  return (
    f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    f'aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
  )


def _numbered(lines: Sequence[Line]) -> list[tuple[int, Line]]:
  """Returns each line with the number of its colour."""
  return [(i % NUM_COLORS, line) for i, line in enumerate(lines)]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
  """Returns at most `most` round numbers from `low` to `high`."""
  raw = (high - low) / (most - 1)
  power = 10 ** math.floor(math.log10(raw))
  step = next(k * power for k in (1, 2, 5, 10) if k * power >= raw * (1 - 1e-9))
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [i * step for i in range(first, last + 1)]


def _fit(values: np.ndarray) -> tuple[float, float]:
  """Returns the range of the finite values; 0 to 1 if there is none."""
  values = values[np.isfinite(values)]
  if not values.size:
    return 0.0, 1.0
  low, high = float(values.min()), float(values.max())
  return (low, high) if high > low else (low - 0.5, high + 0.5)


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
  """Thins a line out, and splits it where it is not finite."""
  step = -(-len(line.x) // MOST_POINTS)
  chosen = np.arange(len(line.x) - 1, -1, -step)[::-1]  # The last one stays.
  pieces: list[list[tuple[float, float]]] = [[]]
  for point in zip(line.x[chosen], line.y[chosen], strict=True):
    if np.isfinite(point).all():
      pieces[-1].append(point)
    elif pieces[-1]:
      pieces.append([])
  return [piece for piece in pieces if piece]


def _grid(spans: Sequence[tuple[float, float]], place) -> list[str]:
  """Draws lines and numbers at the ticks of both axes."""
  (left, right), (low, high) = spans
  parts = []
  for value in ticks(left, right):
    across, down = place((value, low)).split(',')
    top = place((value, high)).split(',')[1]
    parts += [
      f'<path class="grid" d="M{across} {down}V{top}"/>',
      f'<text x="{across}" y="{float(down) + 14:.1f}" text-anchor="middle">'
      f'{value:.4g}</text>',
    ]
  for value in ticks(low, high):
    across, down = place((left, value)).split(',')
    end = place((right, value)).split(',')[0]
    parts += [
      f'<path class="grid" d="M{across} {down}H{end}"/>',
      f'<text x="{float(across) - 5:.1f}" y="{float(down) + 4:.1f}" '
      f'text-anchor="end">{value:.4g}</text>',
    ]
  return parts


def _names(x: str, y: str) -> list[str]:
  """Writes the names of the axes."""
  middle = (LEFT + WIDTH - RIGHT) / 2
  return [
    f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">'
    f'{html.escape(x)}</text>',
    f'<text x="2" y="12">{html.escape(y)}</text>',
  ]

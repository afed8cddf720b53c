"""Draws SVG files that need no style sheet: networks, and plots with a legend.

They are legible at 400 pixels, on light and on dark pages.
"""

import html
from collections.abc import Sequence
from typing import NamedTuple

from unet_jax.evaluation.report import plots

STYLE = """
svg { --ink: #222; --paper: #fff; --faint: #ddd; --soft: #555; --box: #eef3f8;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #8f7500;
  --c5: #56b4e9; --c6: #882255; --c7: #444; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6e6e6; --paper: #16181b;
  --faint: #3a3d42; --soft: #b8b8b8; --box: #22303d; --c0: #56b4e9;
  --c1: #ff8a3d; --c2: #2fd6a5; --c3: #e79cc6; --c4: #f0e442; --c5: #4f8fd0;
  --c6: #e07aa8; --c7: #bbb; } }
text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.head { font-weight: 600; font-size: 13px; fill: var(--ink); }
.paper { fill: var(--paper); } .box { fill: var(--box); }
.grid { stroke: var(--faint); } .arrow { stroke: var(--soft); fill: none; }
.tip { fill: var(--soft); }
polyline { fill: none; stroke: currentColor; stroke-width: 1.8; }
circle, .key { fill: currentColor; }
""" + ' '.join(
  f'.line{i} {{ color: var(--c{i}); }}' for i in range(plots.NUM_COLORS)
)
WIDTH = 400  # Units of the drawing of a network.
BOX = 164  # Width of a box.
LINE = 16  # Height of a line of text.
GAP = 18  # Between two levels.


class Part(NamedTuple):
  """A part of a network: a convolution block, an up-convolution or the head."""

  name: str
  size: tuple[int, int, int]  # Height, width and channels of what it returns.
  parameters: int


def network(title: str, parts: Sequence[Part]) -> str:
  """Draws a network as a U; returns the text of an SVG file.

  A row holds the parts that return one height: on the left those before the
  smallest height, on the right those after it. Images are square.

  Args:
    title: heading of the drawing.
    parts: the parts in the order of their work.
  """
  heights = [part.size[0] for part in parts]
  low = min(heights)
  first = heights.index(low)
  after = len(parts) - heights[::-1].index(low)
  shapes, top = [], 3 * LINE
  for height in sorted({*heights}, reverse=True):
    down = [x for x in parts[:first] if x.size[0] == height]
    up = [x for x in parts[after:] if x.size[0] == height]
    middle = parts[first:after] if height == low else []
    tall = LINE * max(len(down), len(up), len(middle)) + 8
    centre = top + tall / 2
    size = f'{height}×{height}'
    if middle:
      left = (WIDTH - BOX) // 2
      shapes += [
        _box(left, top, tall, middle),
        _text(left - 8, centre + 4, size, 'end'),
      ]
    else:
      end = top + tall
      shapes += [
        _box(4, top, tall, down),
        _box(WIDTH - BOX - 4, top, tall, up),
        _arrow((BOX + 4, centre), (WIDTH - BOX - 4, centre)),
        _text(WIDTH / 2, centre - 5, size, 'middle'),
        _arrow((BOX - 20, end), (BOX - 20, end + GAP)),
        _arrow((WIDTH - BOX + 20, end + GAP), (WIDTH - BOX + 20, end)),
      ]
    top += tall + GAP
  note = _text(4, 2 * LINE, 'height × width; in a box: channels, parameters')
  return _file(WIDTH, top, title, [note, *shapes])


def plot(
  title: str, lines: Sequence[plots.Line], x: plots.Axis, y: plots.Axis
) -> str:
  """Draws lines with their names below; returns the text of an SVG file."""
  height = plots.HEIGHT + LINE * (len(lines) + 1) + 6
  legend = []
  for i, line in enumerate(lines):
    down = plots.HEIGHT + LINE * (i + 2)
    legend += [
      f'<rect class="key line{i % plots.NUM_COLORS}" x="8" y="{down - 7}" '
      'width="16" height="4"/>',
      _text(30, down, line.name),
    ]
  inner = plots.svg(title, lines, x, y).replace(
    '<svg ', f'<svg y="{LINE + 4}" height="{plots.HEIGHT}" ', 1
  )
  return _file(plots.WIDTH, height, title, [inner, *legend])


def _file(width: int, height: float, title: str, shapes: list[str]) -> str:
  text = html.escape(title)
  return (
    '<svg xmlns="http://www.w3.org/2000/svg" '
    f'viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
    f'role="img" aria-label="{text}"><style>{STYLE}</style>'
    f'<rect class="paper" width="{width}" height="{height:g}"/>'
    f'<text class="head" x="4" y="16">{text}</text>{"".join(shapes)}</svg>\n'
  )


def _text(x: float, y: float, text: str, anchor: str = 'start') -> str:
  return (
    f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
    f'{html.escape(text)}</text>'
  )


def _box(left: int, top: float, tall: float, parts: Sequence[Part]) -> str:
  """Draws a box with a line for each part: name, channels, parameters."""
  shapes = [
    f'<rect class="box" x="{left}" y="{top:g}" width="{BOX}" '
    f'height="{tall:g}" rx="4"/>'
  ]
  for i, part in enumerate(parts):
    y = top + LINE * (i + 1)
    shapes += [
      _text(left + 6, y, part.name),
      _text(left + 108, y, str(part.size[-1]), 'end'),
      _text(left + BOX - 6, y, _short(part.parameters), 'end'),
    ]
  return ''.join(shapes)


def _short(number: int) -> str:
  """Returns 9,408 as 9.4k, and 14,161,920 as 14.2M."""
  for size, letter in ((10**6, 'M'), (10**3, 'k')):
    if number >= size:
      return f'{number / size:.1f}{letter}'
  return str(number)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
  """Draws an arrow that is horizontal or vertical."""
  (a, b), (c, d) = start, end
  along = (c > a) - (c < a), (d > b) - (d < b)
  back = c - 5 * along[0], d - 5 * along[1]
  side = 3 * along[1], 3 * along[0]
  tip = ' '.join(
    f'{p:g},{q:g}'
    for p, q in (
      (c, d),
      (back[0] + side[0], back[1] + side[1]),
      (back[0] - side[0], back[1] - side[1]),
    )
  )
  return (
    f'<path class="arrow" d="M{a:g} {b:g}L{c:g} {d:g}"/>'
    f'<polygon class="tip" points="{tip}"/>'
  )

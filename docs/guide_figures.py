"""The figures of the guide: tiles as PNG, curves and networks as SVG."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from unet_jax.data import files
from unet_jax.evaluation import pictures
from unet_jax.evaluation.report import drawing, plots

SIDE = 256  # Longer side of a tile, pixels.
COLORS = 128  # Of a PNG's palette.


def tiles(columns: int, shown: Sequence[np.ndarray], path: pathlib.Path):
  """Writes pictures, uint8[H, W, 3] of one size, in rows of `columns`."""
  rows = []
  for first in range(0, len(shown), columns):
    gap = np.full((shown[0].shape[0], pictures.GAP, 3), 255, np.uint8)
    row = [x for tile in shown[first : first + columns] for x in (tile, gap)]
    rows.append(np.concatenate(row[:-1], axis=1))
  path.parent.mkdir(parents=True, exist_ok=True)
  picture = Image.fromarray(pictures.sheet(rows))
  picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def thresholds(
  image: np.ndarray, grey: np.ndarray, levels: Sequence[int], path
) -> None:
  """Draws an image, its grey mask, that mask cut at levels, and the doubt.

  Args:
    image: uint8[H, W, 3].
    grey: uint8[H, W], for how many experts agree.
    levels: lowest grey level of each cut.
    path: of the PNG.
  """
  doubt = (grey > 0) & (grey < levels[-1])
  marks = files.rescale(grey, SIDE, Image.Resampling.NEAREST)
  shown = [
    files.rescale(image, SIDE, Image.Resampling.BOX),
    np.repeat(marks[..., None], 3, axis=-1),
    *(_over(image, (grey >= level)[..., None]) for level in levels),
    _over(image, doubt[..., None], pictures.ERRORS[1:]),
  ]
  tiles(2, shown, path)


def planes(image: np.ndarray, truth: np.ndarray, path: pathlib.Path) -> None:
  """Draws an image, each plane of bool[H, W, K] alone, and all over it."""
  black = np.zeros_like(image)
  shown = [files.rescale(image, SIDE, Image.Resampling.BOX)]
  for k in range(truth.shape[-1]):
    colors = pictures.COLORS[k : k + 1]
    shown.append(_over(black, truth[..., k : k + 1], colors, 1.0))
  tiles(2, [*shown, _over(image, truth)], path)


def ranks(panels: Sequence[np.ndarray], path: pathlib.Path) -> None:
  """Draws truth, prediction and errors of panels from pictures.panel."""
  shown = []
  for panel in panels:
    width = (panel.shape[1] - 3 * pictures.GAP) // 4
    starts = [i * (width + pictures.GAP) for i in (1, 2, 3)]
    shown += [
      files.rescale(panel[:, x : x + width], SIDE, Image.Resampling.BOX)
      for x in starts
    ]
  tiles(3, shown, path)


def curves(
  title: str,
  axis: str,
  series: Mapping[str, tuple[Sequence[int], Sequence[float]]],
  path: pathlib.Path,
) -> None:
  """Draws series, (steps, values) by name, over the steps."""
  lines = [
    plots.Line(name, np.array(x, float), np.array(y, float))
    for name, (x, y) in series.items()
  ]
  _write(drawing.plot(title, lines, plots.Axis('step'), plots.Axis(axis)), path)


def network(title: str, parts: Sequence[drawing.Part], path) -> None:
  """Draws a network."""
  _write(drawing.network(title, parts), path)


def _write(text: str, path: pathlib.Path) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def _over(
  image: np.ndarray,
  truth: np.ndarray,
  colors: np.ndarray = pictures.COLORS,
  strength: float = 0.6,
) -> np.ndarray:
  """Colours bool[H, W, K] over an image, both scaled; nothing small is lost."""
  image = files.rescale(image, SIDE, Image.Resampling.BOX)
  size = image.shape[1::-1]
  scaled = files.resize(np.uint8(255) * truth, size, Image.Resampling.BOX)
  return pictures.overlay(image, scaled > 0, strength, colors)

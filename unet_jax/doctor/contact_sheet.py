"""Draws a contact sheet of annotated images, the rarest class first."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unet_jax import build
from unet_jax.data import files, labels
from unet_jax.doctor.survey import Survey
from unet_jax.evaluation import pictures

TILE = 320  # Longer side of an image, pixels.
COLUMNS = 4
LINE = 18  # Height of a line of text, pixels.
MOST = 12  # Images on a sheet.
FILL = 0.2  # Strength of the colour inside an outline.


def make(survey: Survey) -> list[tuple[str, np.ndarray]]:
  """Draws some annotated images: captions, and uint8[H, W, 3] without them."""
  class_spec = build.make_classes(survey.config, survey.classes)
  labelled = survey.with_label()
  records = [record for record, _ in labelled]
  counts = np.array([label.counts for _, label in labelled])  # [N, K]
  tiles = []
  rarest = counts.sum(axis=0).argsort()
  for i in choose(counts) if labelled else ():
    example = survey.read(records[i].key)
    label = example['label']
    image = pictures.to_bytes(example['image'], survey.limits)
    have = [survey.classes[k] for k in rarest if counts[i, k]]
    title = (
      f'{records[i].name} ({records[i].split}): {", ".join(have) or "empty"}'
    )
    planes, void = class_spec.to_planes(label), labels.is_void(label)
    tiles.append((title, tile(image, planes, void)))
  return tiles


def choose(counts: np.ndarray, most: int = MOST) -> list[int]:
  """Chooses one example for each class in turn, the rarest class first.

  The examples that have a class are sorted by the pixels that have it. The
  middle example comes first, then the larger ones, then the smaller ones.

  Args:
    counts: int64[N, K], pixels of each class.
    most: number of examples to choose at most.

  Returns:
    Indices of the chosen examples; an example without foreground comes last.
  """
  rarest = np.argsort(counts.sum(axis=0))
  queues = []
  for k in rarest:
    have = np.flatnonzero(counts[:, k])
    by_size = have[np.argsort(counts[have, k])]
    queues.append(np.roll(by_size, -(len(by_size) // 2)).tolist())
  chosen: dict[int, bool] = {}  # Kept for its order; every value is True.
  while any(queues) and len(chosen) < most:
    for queue in queues:
      while queue and queue[0] in chosen:
        queue.pop(0)
      if queue and len(chosen) < most:
        chosen[queue.pop(0)] = True
  empty = np.flatnonzero(counts.sum(axis=1) == 0)[:1].tolist()
  return [*list(chosen)[: most - len(empty)], *empty]


def tile(image: np.ndarray, planes: np.ndarray, void: np.ndarray) -> np.ndarray:
  """Draws outlines over an image: uint8[H, W, 3].

  Image and planes are scaled first. A pixel of the tile is in a plane if any
  part of the pixel is, so that the smallest object has an outline.

  Args:
    image: uint8[H, W, C].
    planes: bool[H, W, K] of the foreground classes.
    void: bool[H, W], greyed out.
  """
  box = Image.Resampling.BOX
  image = files.rescale(image, TILE, box)
  size = image.shape[1::-1]
  both = np.concatenate([planes, void[..., None]], axis=-1)
  scaled = files.resize(255 * both.astype(np.uint8), size, box) > 0
  picture = pictures.overlay(image, scaled[..., :-1], FILL)
  grey = files.resize(255 * void.astype(np.uint8), size, box) > 127
  picture[grey] = 128
  return picture


def sheet(
  figures: Sequence[tuple[str, np.ndarray]], names: Sequence[str]
) -> np.ndarray:
  """Arranges pictures below a legend of the classes: uint8[H, W, 3].

  Args:
    figures: caption, and picture uint8[h, w, 3] of any size.
    names: names of the classes.
  """
  nothing = np.zeros((0, TILE, 3), np.uint8)
  figures = figures or [('no example can be read', nothing)]
  tiles = [
    np.concatenate([_write(caption, picture.shape[1]), picture])
    for caption, picture in figures
  ]
  height = max(x.shape[0] for x in tiles)
  width = max(x.shape[1] for x in tiles)
  white = np.full((height, width, 3), 255, np.uint8)
  rows = []
  for first in range(0, len(tiles), COLUMNS):
    row = [_paste(x, white) for x in tiles[first : first + COLUMNS]]
    row += [white] * (min(COLUMNS, len(tiles)) - len(row))
    rows.append(np.concatenate(row, axis=1))
  grid = pictures.sheet(rows)
  return np.concatenate([_legend(names, grid.shape[1]), grid])


def _paste(picture: np.ndarray, background: np.ndarray) -> np.ndarray:
  """Pastes uint8[H, W, 3] on a larger background; adds a gap to the right."""
  canvas = background.copy()
  canvas[: picture.shape[0], : picture.shape[1]] = picture
  return np.pad(
    canvas, ((0, 0), (0, pictures.GAP), (0, 0)), constant_values=255
  )


def _legend(names: Sequence[str], width: int) -> np.ndarray:
  """Writes each class beside its colour: uint8[H, W, 3], W being `width`."""
  font, x = _font(), 0
  lines: list[list[tuple[int, int, str]]] = [[]]  # Left edge, class, name.
  for k, name in enumerate(names):
    needed = 2 * LINE + int(font.getlength(name))
    if x and x + needed > width:
      lines.append([])
      x = 0
    lines[-1].append((x, k, name))
    x += needed
  picture = Image.new('RGB', (width, LINE * (len(lines) + 1)), 'white')
  draw = ImageDraw.Draw(picture)
  for i, line in enumerate(lines):
    for x, k, name in line:
      color = tuple(pictures.COLORS[k % len(pictures.COLORS)].astype(int))
      top = i * LINE + 4
      draw.rectangle((x, top, x + LINE - 6, top + LINE - 6), color)
      draw.text((x + LINE, i * LINE + 3), name, 'black', font)
  return np.asarray(picture)


def _write(text: str, width: int) -> np.ndarray:
  """Writes a line of black text on white: uint8[H, W, 3], W being `width`."""
  picture = Image.new('RGB', (width, LINE), 'white')
  ImageDraw.Draw(picture).text((2, 3), text, 'black', _font())
  return np.asarray(picture)


def _font():
  return ImageFont.load_default(12)

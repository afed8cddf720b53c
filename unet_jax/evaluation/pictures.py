"""Pictures for people: masks laid over images, and panels of them."""

from collections.abc import Sequence

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind people too; then Tol's,
# for sets of more classes.
COLORS = np.array(
  [
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
    (51, 34, 136),
    (170, 68, 153),
    (153, 153, 51),
    (136, 34, 85),
    (17, 119, 51),
    (221, 204, 119),
  ],
  np.float32,
)
GAP = 8  # Pixels between the pictures of a panel.


def overlay(
  image: np.ndarray, planes: np.ndarray, strength: float = 0.5
) -> np.ndarray:
  """Colours the foreground of uint8[H, W, C] by bool[H, W, K]: uint8[H, W, 3].

  Borders are drawn at full strength, so that the smallest object shows.
  """
  picture = np.repeat(image, 3 // image.shape[-1], axis=-1).astype(np.float32)
  for k in range(planes.shape[-1]):
    color, plane = COLORS[k % len(COLORS)], planes[..., k]
    picture[plane] += strength * (color - picture[plane])
    picture[border(plane)] = color
  return picture.round().astype(np.uint8)


def border(plane: np.ndarray) -> np.ndarray:
  """Returns the pixels of bool[H, W] that have a neighbour outside it."""
  wide = np.pad(plane, 1)
  inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
  return plane & ~inner


def panel(
  image: np.ndarray, truth: np.ndarray, void: np.ndarray, pred: np.ndarray
) -> np.ndarray:
  """Puts the image, its truth and its prediction side by side.

  Args:
    image: uint8[H, W, C].
    truth: bool[H, W, K] of the foreground classes.
    void: bool[H, W], greyed out.
    pred: bool[H, W, K].

  Returns:
    uint8[H, 3 W + 16, 3].
  """
  truth = overlay(image, truth)
  truth[void] = 128
  blank = overlay(image, pred[..., :0])
  gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
  parts = (blank, gap, truth, gap, overlay(image, pred))
  return np.concatenate(parts, axis=1)


def sheet(panels: Sequence[np.ndarray]) -> np.ndarray:
  """Puts uint8[H, W, 3] panels below each other, on white: uint8[H, W, 3]."""
  width = max(panel.shape[1] for panel in panels)
  rows = [
    np.pad(
      panel,
      ((0, GAP), (0, width - panel.shape[1]), (0, 0)),
      constant_values=255,
    )
    for panel in panels
  ]
  return np.concatenate(rows)[:-GAP]

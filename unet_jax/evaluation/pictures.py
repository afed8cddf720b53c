"""Draws masks over images, and panels of several pictures."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Colours of classes: of Okabe and Ito, which the colour-blind can distinguish;
# then of Tol, for data sets with more classes.
COLORS = np.array(
  [
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
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
# False positives, false negatives, and one class predicted as another: other
# colours of Okabe and Ito, so that no class has one of them.
ERRORS = np.array([(0, 114, 178), (213, 94, 0), (204, 121, 167)], np.float32)
GAP = 8  # Pixels between the pictures of a panel.


def to_bytes(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
  """Returns an image as it is shown: uint8[H, W, 1 or 3].

  Of more channels than 3 the first three are shown, and two are red and green.

  Args:
    image: [H, W, C] of any type.
    limits: black and white.
  """
  if image.dtype != np.uint8:
    low, high = limits
    scaled = (image.astype(np.float32) - low) * np.float32(255 / (high - low))
    image = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
  if image.shape[-1] == 2:
    return np.pad(image, ((0, 0), (0, 0), (0, 1)))
  return image[..., :3]


def overlay(
  image: np.ndarray,
  planes: np.ndarray,
  strength: float = 0.5,
  colors: np.ndarray = COLORS,
) -> np.ndarray:
  """Colours the planes of an image; returns uint8[H, W, 3].

  Borders are drawn at full strength, so that the smallest object is visible.

  Args:
    image: uint8[H, W, C].
    planes: bool[H, W, K]; plane k gets colour k.
    strength: opacity of the colours inside the borders, 0 to 1.
    colors: float32[N, 3] in [0, 255]; they repeat if K > N.
  """
  picture = np.repeat(image, 3 // image.shape[-1], axis=-1).astype(np.float32)
  for k in range(planes.shape[-1]):
    color, plane = colors[k % len(colors)], planes[..., k]
    picture[plane] += strength * (color - picture[plane])
    picture[border(plane)] = color
  return picture.round().astype(np.uint8)


def border(plane: np.ndarray) -> np.ndarray:
  """Returns the pixels of bool[H, W] with one of 4 neighbours outside of it."""
  wide = np.pad(plane, 1)
  inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
  return plane & ~inner


def panel(
  image: np.ndarray, truth: np.ndarray, void: np.ndarray, pred: np.ndarray
) -> np.ndarray:
  """Puts an image, its ground truth, prediction and errors side by side.

  False positives are blue, false negatives are vermilion, and pixels of one
  foreground class that are predicted as another are purple.

  Args:
    image: uint8[H, W, C].
    truth: bool[H, W, K], ground truth of the foreground classes.
    void: bool[H, W], void pixels, which are drawn grey.
    pred: bool[H, W, K], prediction of the foreground classes.

  Returns:
    uint8[H, 4 W + 24, 3].
  """
  false, missed = (pred & ~truth).any(axis=-1), (truth & ~pred).any(axis=-1)
  errors = np.stack([false & ~missed, missed & ~false, false & missed], -1)
  truth_picture = overlay(image, truth)
  truth_picture[void] = 128
  gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
  parts = (
    overlay(image, pred[..., :0]),
    truth_picture,
    overlay(image, pred),
    overlay(image, errors & ~void[..., None], 1.0, ERRORS),
  )
  return np.concatenate([x for part in parts for x in (part, gap)][:-1], 1)


def sheet(panels: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks panels, uint8[H, W, 3] of any size, on white: uint8[H, W, 3]."""
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


def color_of(num_classes: int) -> np.ndarray:
  """Returns the colours of K classes, float32[K, 3]; they may repeat."""
  return np.resize(COLORS, (num_classes, 3))


def factor(shape: tuple[int, int], most: int) -> int:
  """Returns the power of 2 that divides the sides [H, W] to `most` or less."""
  return 2 ** max(0, math.ceil(math.log2(max(shape) / most)))


def shrink(array: np.ndarray, factor: int) -> np.ndarray:
  """Divides the height and width of an array by a factor.

  Args:
    array: uint8[H, W, C], whose pixels are averaged, or bool[H, W, K], of which
      a pixel is True if any was. Fewer pixels are left at the lower right.
    factor: whole number.
  """
  if factor == 1:
    return array
  below, right = (-side % factor for side in array.shape[:2])
  array = np.pad(array, ((0, below), (0, right), (0, 0)), mode='edge')
  height, width, channels = array.shape
  blocks = array.reshape(height // factor, factor, -1, factor, channels)
  if array.dtype == bool:
    return blocks.any(axis=(1, 3))
  return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def with_legend(picture: np.ndarray, names: Sequence[str]) -> np.ndarray:
  """Puts the colours and names of classes below uint8[H, W, 3]; it may widen.

  Args:
    picture: from `overlay`.
    names: of its planes.
  """
  size = int(np.clip(picture.shape[1] / 40, 12, 64))  # Pixels.
  font = ImageFont.load_default(size)
  gap, places, x, y = size // 2, [], size // 2, size // 2
  width = picture.shape[1]
  for name in names:
    length = 2 * size + math.ceil(font.getlength(name))
    if x > gap and x + length > picture.shape[1]:
      x, y = gap, y + size + gap
    places.append((x, y))
    x += length + gap
    width = max(width, x)
  height = y + size + gap
  legend = Image.new('RGB', (width, height), 'white')
  draw = ImageDraw.Draw(legend)
  for (x, y), name, color in zip(
    places, names, color_of(len(names)).astype(int).tolist(), strict=True
  ):
    draw.rectangle((x, y, x + size - 1, y + size - 1), tuple(color))
    draw.text((x + size + gap, y), name, 'black', font)
  padding = ((0, 0), (0, width - picture.shape[1]), (0, 0))
  picture = np.pad(picture, padding, constant_values=255)
  return np.concatenate([picture, np.asarray(legend)])

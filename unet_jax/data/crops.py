"""Positions of crops: uniform, or around a pixel of a randomly drawn class."""

from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax.data import labels

# Arrays of an example that are cropped together; the last may be absent.
CROPPED = ('image', 'label', 'weight_map')
MAX_PLACES = 256  # Pixels kept per class and image: 1 KiB.


def find_places(planes: np.ndarray) -> dict[int, np.ndarray]:
  """Finds pixels of each foreground class, spread evenly over its area.

  Args:
    planes: bool[H, W, K], as labels.to_planes gives them.

  Returns:
    {class: int32[n] places in [0, H * W)} of the classes that occur, n at most
    `MAX_PLACES`.
  """
  places_of = {}
  for k in range(planes.shape[-1]):
    places = np.flatnonzero(planes[..., k])
    if len(places):
      num = min(len(places), MAX_PLACES)
      chosen = np.linspace(0, len(places) - 1, num).round().astype(int)
      places_of[k] = places[chosen].astype(np.int32)
  return places_of


def make_table(
  images: Sequence[Mapping[int, np.ndarray]], num_classes: int
) -> tuple[tuple[tuple[int, np.ndarray], ...], ...]:
  """Groups places by class instead of by image.

  Args:
    images: for each image, {class: places int32[n]}; see `find_places`.
    num_classes: K, number of foreground classes.

  Returns:
    For each class, (image, places) of the images that have it.
  """
  return tuple(
    tuple((i, places[k]) for i, places in enumerate(images) if k in places)
    for k in range(num_classes)
  )


def is_foreground(index: int, share: float) -> bool:
  """Returns whether the sample at a position is cropped around a class.

  Of any consecutive samples, `share` are, rounded; nothing is random.
  """
  return int((index + 1) * share) > int(index * share)


def draw_place(rng: np.random.Generator, table: Sequence) -> tuple[int, int]:
  """Draws a class that occurs, an image that has it, and a pixel of it.

  Args:
    rng: the sample's generator.
    table: from `make_table`; at least one class must occur.

  Returns:
    The index of the image, and the place in it.
  """
  classes = [images for images in table if images]
  images = classes[rng.integers(len(classes))]
  image, places = images[rng.integers(len(images))]
  return image, int(places[rng.integers(len(places))])


def anywhere(
  rng: np.random.Generator, shape: tuple[int, int], size: int
) -> tuple[int, int]:
  """Draws the top left corner of a crop within an image of [H, W]."""
  top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in shape)
  return top, left


def about(
  rng: np.random.Generator, place: int, shape: tuple[int, int], size: int
) -> tuple[int, int]:
  """Draws the top left corner of a crop that has `place` in its middle half.

  The pixel is not exactly in the middle, or the model would learn that lesions
  are there; a rotation keeps the pixel in the crop. Near the image's border the
  crop stays within the image, and the pixel is nearer to the crop's border.
  """
  corner = []
  for at, side in zip(np.unravel_index(place, shape), shape, strict=True):
    before = rng.integers(size // 4, size - size // 4)
    corner.append(int(np.clip(at - before, 0, max(side - size, 0))))
  top, left = corner
  return top, left


def cut(
  image: np.ndarray,
  label: np.ndarray,
  *weight_map: np.ndarray,
  top: int,
  left: int,
  side: int,
) -> tuple[np.ndarray, ...]:
  """Cuts a square; where the square leaves the image, `pad` fills it.

  Args:
    image: [H, W, C].
    label: uint8[H, W] or [H, W, K].
    *weight_map: float32[H, W], or nothing.
    top: row of the square's first pixel; negative above the image.
    left: column of that pixel.
    side: S, of the square.

  Returns:
    The same arrays, with S in place of H and W.
  """
  height, width = image.shape[:2]
  around = (
    (max(-top, 0), max(top + side - height, 0)),
    (max(-left, 0), max(left + side - width, 0)),
  )
  window = (slice(max(top, 0), top + side), slice(max(left, 0), left + side))
  return pad(*(x[window] for x in (image, label, *weight_map)), around=around)


def pad(
  image: np.ndarray,
  label: np.ndarray,
  *weight_map: np.ndarray,
  around: tuple[tuple[int, int], tuple[int, int]],
) -> tuple[np.ndarray, ...]:
  """Pads the image by edge replication, and the label with void.

  A map of weights is padded by edge replication as well, so that interpolation
  at the edge mixes in nothing foreign.

  Args:
    image: [H, W, C].
    label: uint8[H, W] or [H, W, K].
    *weight_map: float32[H, W], or nothing.
    around: pixels (above, below), (left, right).

  Returns:
    The padded arrays, in the order of the arguments.
  """
  if not np.any(around):
    return image, label, *weight_map
  image = np.pad(image, (*around, (0, 0)), mode='edge')
  more = ((0, 0),) * (label.ndim - 2)
  label = np.pad(label, (*around, *more), constant_values=labels.VOID)
  return image, label, *(np.pad(x, around, mode='edge') for x in weight_map)

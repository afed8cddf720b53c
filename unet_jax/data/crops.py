"""Where to crop: anywhere, or about a pixel of a drawn class."""

from collections.abc import Mapping, Sequence

import numpy as np

from unet_jax.data import labels

# What of an example is cut and moved alike; the last may be absent.
MOVED = ('image', 'label', 'weight_map')
MAX_PLACES = 256  # Pixels known of each class in each image: a kilobyte.


def find_places(planes: np.ndarray) -> dict[int, np.ndarray]:
  """Finds pixels of each foreground class that occurs, evenly in its area.

  Args:
    planes: bool[H, W, K], as labels.to_planes gives them.

  Returns:
    {class: int32[n] places in [0, H * W)}, n at most `MAX_PLACES`.
  """
  found = {}
  for k in range(planes.shape[-1]):
    places = np.flatnonzero(planes[..., k])
    if len(places):
      num = min(len(places), MAX_PLACES)
      chosen = np.linspace(0, len(places) - 1, num).round().astype(int)
      found[k] = places[chosen].astype(np.int32)
  return found


def make_table(
  found: Sequence[Mapping[int, np.ndarray]], num_classes: int
) -> tuple[tuple[tuple[int, np.ndarray], ...], ...]:
  """Turns what `find_places` found in each image into the images of each class.

  Returns:
    For each class, (image, places) of the images that have it.
  """
  return tuple(
    tuple((i, places[k]) for i, places in enumerate(found) if k in places)
    for k in range(num_classes)
  )


def is_foreground(index: int, share: float) -> bool:
  """Tells whether a sample is cropped about a class, by its position alone.

  Of any stretch of samples that share has it, to the nearest one.
  """
  return int((index + 1) * share) > int(index * share)


def draw_place(rng: np.random.Generator, table: Sequence) -> tuple[int, int]:
  """Draws a class of those that occur, an image that has it, and a pixel.

  Args:
    rng: the sample's.
    table: from `make_table`, of which a class must occur.

  Returns:
    The image and the place in it.
  """
  classes = [images for images in table if images]
  images = classes[rng.integers(len(classes))]
  image, places = images[rng.integers(len(images))]
  return image, int(places[rng.integers(len(places))])


def anywhere(
  rng: np.random.Generator, shape: tuple[int, int], size: int
) -> tuple[int, int]:
  """Draws the corner of a crop within an image of [H, W]."""
  return tuple(int(rng.integers(max(side - size, 0) + 1)) for side in shape)


def about(
  rng: np.random.Generator, place: int, shape: tuple[int, int], size: int
) -> tuple[int, int]:
  """Draws the corner of a crop that has `place` in its middle half.

  So a net doesn't learn that lesions lie in the middle, and a turn leaves the
  pixel in. At the image's border the crop stays within the image, and the
  pixel is nearer to the crop's.
  """
  corner = []
  for at, side in zip(np.unravel_index(place, shape), shape, strict=True):
    before = rng.integers(size // 4, size - size // 4)
    corner.append(int(np.clip(at - before, 0, max(side - size, 0))))
  return tuple(corner)


def cut(
  image: np.ndarray,
  label: np.ndarray,
  *weight_map: np.ndarray,
  top: int,
  left: int,
  side: int,
) -> tuple[np.ndarray, ...]:
  """Cuts a square that may reach beyond the image, as `pad` goes on there."""
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
  """Adds pixels (above, below), (left, right): edges go on, labels are void.

  A map of weights, float32[H, W], goes on like the image, so that beside the
  edge nothing is mixed with it; it comes back as it came: there or not.
  """
  if not np.any(around):
    return image, label, *weight_map
  image = np.pad(image, (*around, (0, 0)), mode='edge')
  more = ((0, 0),) * (label.ndim - 2)
  label = np.pad(label, (*around, *more), constant_values=labels.VOID)
  return image, label, *(np.pad(x, around, mode='edge') for x in weight_map)

"""Statistics from reading every example once: moments, pixels of classes."""

import concurrent.futures
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data import codes, crops, labels

IN_MEMORY = 4 * 2**30  # Bytes of decoded examples that are kept.
TOPS = (1023, 4095, 16383, 65535)  # White of cameras of 10 to 16 bits.
STRETCH = 64  # Examples that threads decode before the first is used.


class Counts(NamedTuple):
  """Counts of one image and its label."""

  name: str
  pixels: int
  longest: int  # Length of its longer side.
  sum: np.ndarray  # int64[C], of the values; float64 for floats.
  squares: np.ndarray  # Likewise, of the squared values.
  low: float  # The least value.
  high: float  # The greatest value.
  planes: np.ndarray  # int64[P], pixels of each plane, background first.
  classes: np.ndarray  # int64[K], the foreground, the last planes.
  void: int  # Void pixels.
  overlap: int  # Pixels where a later class hid an earlier one.
  marked: Mapping[str, tuple[int, int]]  # See labels.Decoded.
  places: Mapping[int, np.ndarray]  # See crops.find_places.
  has_weights: bool  # Whether it has a map of weights.
  digest: str  # See `digest`.


def read_all(
  keys: Sequence[str], read: Callable[[str], dict], coding: labels.Coding
) -> tuple[dict[str, dict], dict[str, Counts]]:
  """Decodes examples in threads; keeps the first `IN_MEMORY` bytes.

  Returns:
    {key: example} of the kept examples, and {key: Counts} of all examples.
  """
  kept, counts, size = {}, {}, 0
  for key, example in zip(keys, in_order(keys, read), strict=True):
    counts[key] = count(example, coding)
    size += sum(x.nbytes for x in example.values() if hasattr(x, 'nbytes'))
    if size <= IN_MEMORY:
      kept[key] = example
  return kept, counts


def count(example: dict, coding: labels.Coding) -> Counts:
  """Counts the pixels and values of one example."""
  image, label = example['image'], example['label']
  low, high = float(image.min()), float(image.max())
  image = image.astype(np.float64 if image.dtype.kind == 'f' else np.int64)
  planes = count_planes(label, coding)
  return Counts(
    name=example['name'],
    pixels=image.shape[0] * image.shape[1],
    longest=max(image.shape[:2]),
    sum=image.sum(axis=(0, 1)),
    squares=(image**2).sum(axis=(0, 1)),
    low=low,
    high=high,
    planes=planes,
    classes=planes[-len(coding.classes) :],
    void=int(np.count_nonzero(labels.is_void(label))),
    overlap=example['overlap'],
    marked=example['marked'],
    places=crops.find_places(
      labels.to_planes(
        label,
        len(coding.classes),
        first=1 if coding.background else 0,
        soft=coding.soft > 0,
      )
    ),
    has_weights='weight_map' in example,
    digest=digest(example),
  )


def digest(example: dict) -> str:
  """Returns the SHA-256 of an example's arrays and their shapes."""
  total = hashlib.sha256()
  for key in crops.CROPPED:
    if key in example:
      array = np.ascontiguousarray(example[key])
      total.update(f'{key} {array.dtype} {array.shape}\n'.encode())
      total.update(array)
  return total.hexdigest()


def count_planes(label: np.ndarray, coding: labels.Coding) -> np.ndarray:
  """Counts the pixels of each plane: int64[P]."""
  num_planes = len(
    labels.class_names(coding.task, coding.classes, coding.background)
  )
  if coding.task == 'multiclass':
    return np.bincount(label.ravel(), minlength=256)[:num_planes]
  planes = labels.to_planes(label, num_planes, soft=coding.soft > 0)
  return np.count_nonzero(planes, axis=(0, 1))


def count_pixels(
  images: Sequence[Counts],
) -> tuple[tuple[int, int, int], ...]:
  """Returns sources.Stats.pixels: three counts for each plane."""
  planes = np.array([image.planes for image in images])  # [N, P]
  known = np.array([image.pixels - image.void for image in images])[:, None]
  nearby = np.where(planes > 0, known, 0).sum(axis=0)
  return tuple(
    (own, near, int(known.sum()))
    for own, near in zip(
      planes.sum(axis=0).tolist(), nearby.tolist(), strict=True
    )
  )


def limits(images: Sequence[Counts], dtype: str) -> tuple[float, float]:
  """Returns what is black and white in images of one of image_kinds.DTYPES.

  Of uint8 0 and 255; of uint16 the range of the least number of bits that
  cameras have and that holds all images; else their least and greatest value.
  """
  low = min(image.low for image in images)
  high = max(image.high for image in images)
  if dtype == 'uint8':
    return codes.BYTES
  if dtype == 'uint16':
    return 0.0, next(float(top) for top in TOPS if high <= top)
  return low, high if high > low else low + 1.0


def moments(
  images: Sequence[Counts], span: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation of each channel.

  Args:
    images: counts of the images.
    span: from black to white; a deviation is at least a 255th of it.
  """
  pixels = sum(image.pixels for image in images)
  # Python's whole numbers have no greatest one: 2**63 is soon passed.
  sums = np.sum([image.sum.tolist() for image in images], axis=0, dtype=object)
  squares = np.sum(
    [image.squares.tolist() for image in images], axis=0, dtype=object
  )
  mean = (sums / pixels).astype(np.float64)  # [C]
  variance = (squares / pixels).astype(np.float64) - mean**2
  std = np.maximum(np.sqrt(np.maximum(variance, 0)), span / 255)
  return tuple(mean.tolist()), tuple(std.tolist())


def notes(images: Sequence[Counts], coding: labels.Coding) -> list[str]:
  """Returns notes on overlaps, thresholds and soft labels."""
  lines = []
  overlap = sum(image.overlap for image in images)
  pixels = sum(image.pixels for image in images)
  if overlap:
    lines.append(
      f'classes overlap in {overlap} of {pixels} pixels; there the later of '
      f'{", ".join(coding.classes)} wins'
    )
  for name in images[0].marked:
    passed, above = np.sum([image.marked[name] for image in images], axis=0)
    if passed < above:
      lines.append(
        f'{name}: {100 * passed / above:.1f} % of the marked pixels reach '
        f'config.data.masks.threshold={coding.threshold}, and have the class'
      )
  if coding.soft:
    lines.append(
      f'labels are probabilities, and {coding.soft} in a mask means 1; scores '
      'count more than 1/2 as foreground'
    )
  return lines


def in_order(keys: Sequence, read: Callable) -> Iterator:
  """Reads in threads, `STRETCH` keys at a time, to bound memory."""
  with concurrent.futures.ThreadPoolExecutor() as pool:
    for first in range(0, len(keys), STRETCH):
      yield from pool.map(read, keys[first : first + STRETCH])

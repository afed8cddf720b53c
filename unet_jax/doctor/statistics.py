"""Statistics of an image and its label, small enough to keep for all images."""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from unet_jax.data import field_of_view, labels
from unet_jax.doctor import components as components_lib

THUMB = 16  # Side of a thumbnail, pixels.
MAX_VALUES = 4096  # Values kept of a mask; a photograph has far more.


class ImageStatistics(NamedTuple):
  """Statistics of an image, in its own units."""

  low: float
  high: float
  full: float  # The largest value that its type can hold; 1 for floats.
  bright: float  # 99th percentile of the values.
  mean: tuple[float, ...]  # Of each channel.
  top: float  # Share of the values that are `high`.
  flat: tuple[int, ...]  # Channels of one value all over, if there are several.
  is_finite: bool
  digest: str  # Hash of the decoded pixels.
  thumb: np.ndarray  # float32[16, 16], grey.


class LabelStatistics(NamedTuple):
  """Statistics of a label as training sees it, before it is resized."""

  counts: np.ndarray  # int64[K], pixels of each foreground class.
  pixels: int  # Pixels that are not void.
  void: int = 0  # Void pixels.
  overlap: int = 0  # Pixels with several classes.
  frame: float = 0.0  # Share of the image in the black frame around a retina.
  outside: int = 0  # Pixels of foreground in that frame.
  components: tuple[components_lib.Components, ...] = ()  # Of each class.
  edges: tuple[int, ...] = ()  # Sides of pixels on each class's outline.
  digest: str = ''


def value_counts(mask: np.ndarray) -> dict[int | str, int]:
  """Counts the pixels of each value of [H, W], or '#rrggbb' of [H, W, C].

  Floats are shares, not codes of classes, and are not counted. Of grey and
  alpha, the grey values are counted.
  """
  if mask.ndim == 3 and mask.shape[2] < 3:
    mask = mask[..., 0]
  if mask.ndim == 3:
    colour = mask[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return {f'#{value:06x}': n for value, n in _commonest(colour)}
  if mask.dtype.kind == 'f':
    return {}
  if mask.itemsize > 1:
    return dict(_commonest(mask))
  counts = np.bincount(mask.ravel())
  return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _commonest(values: np.ndarray) -> list[tuple[int, int]]:
  """Counts the most common values of integers [H, W], sorted by value."""
  values, counts = np.unique(values, return_counts=True)
  kept = np.sort(np.argsort(-counts, kind='stable')[:MAX_VALUES])
  return list(zip(values[kept].tolist(), counts[kept].tolist(), strict=True))


def look_at(image: np.ndarray) -> ImageStatistics:
  """Measures an image of any type, [H, W] or [H, W, C]."""
  image = image.reshape(*image.shape[:2], -1)
  is_integer = image.dtype.kind in 'iu'
  full = float(np.iinfo(image.dtype).max) if is_integer else 1.0
  is_finite = is_integer or bool(np.isfinite(image).all())
  known = image if is_finite else np.nan_to_num(image, posinf=0, neginf=0)
  small = np.stack(
    [_shrink(known[..., i]) for i in range(image.shape[2])], axis=-1
  )
  return ImageStatistics(
    low=float(known.min()),
    high=float(known.max()),
    full=full,
    bright=float(np.percentile(known[::4, ::4], 99)),
    mean=tuple(small.mean(axis=(0, 1)).tolist()),
    top=float(np.mean(known == known.max())),
    flat=_flat_channels(known),
    is_finite=is_finite,
    digest=_digest(image),
    thumb=small.mean(axis=-1),
  )


def _flat_channels(image: np.ndarray) -> tuple[int, ...]:
  """Returns the channels of [H, W, C] that have one value; () if C is 1."""
  spread = image.max(axis=(0, 1)) > image.min(axis=(0, 1))
  return tuple(np.flatnonzero(~spread).tolist()) if len(spread) > 1 else ()


def _shrink(channel: np.ndarray) -> np.ndarray:
  """Averages [H, W] over boxes: float32[THUMB, THUMB]."""
  dtype = np.uint8 if channel.dtype == np.uint8 else np.float32
  whole = Image.fromarray(channel.astype(dtype))
  small = whole.resize((THUMB, THUMB), Image.Resampling.BOX)
  return np.asarray(small, np.float32)


def count(example: dict, coding: labels.Coding) -> LabelStatistics:
  """Measures a label.

  Args:
    example: an example at full size; see `reading`.
    coding: how its mask was read.
  """
  label = example['label']
  first = 0 if coding.task == 'multiclass' and not coding.background else 1
  planes = labels.to_planes(
    label, len(coding.classes), first=first, soft=coding.soft > 0
  )
  void = labels.is_void(label)
  overlap = example['overlap']
  if coding.task == 'multilabel':
    overlap = np.count_nonzero(np.count_nonzero(planes, axis=-1) > 1)
  view = field_of_view.estimate(example['image'])
  by_class = np.moveaxis(planes, -1, 0)
  # Street scenes have dark parts, too, but not in all corners.
  is_framed = not view[np.ix_((0, -1), (0, -1))].any()
  return LabelStatistics(
    counts=np.count_nonzero(planes, axis=(0, 1)),
    pixels=int(np.count_nonzero(~void)),
    void=int(np.count_nonzero(void)),
    overlap=int(overlap),
    frame=is_framed * (1 - float(view.mean())),
    outside=int(np.count_nonzero(planes.any(axis=-1) & ~view)),
    components=tuple(components_lib.measure(plane) for plane in by_class),
    edges=tuple(count_edges(plane) for plane in by_class),
    digest=_digest(label),
  )


def count_edges(plane: np.ndarray) -> int:
  """Counts the sides between a pixel of bool[H, W] and one outside of it.

  The border of the image is no such side.
  """
  below, beside = plane[1:] != plane[:-1], plane[:, 1:] != plane[:, :-1]
  return int(np.count_nonzero(below) + np.count_nonzero(beside))


def _digest(array: np.ndarray) -> str:
  digest = hashlib.blake2b(f'{array.shape}'.encode(), digest_size=8)
  digest.update(np.ascontiguousarray(array))
  return digest.hexdigest()

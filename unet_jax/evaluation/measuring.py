"""Measures the logits of a split: counts, histograms, outlines and objects."""

import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data import labels
from unet_jax.evaluation import (
  counts,
  curves,
  decisions,
  matrix,
  objects,
  records,
  surface,
)

# Pixels of a call of the compiled function, which images fill up: one shape for
# images of all sizes.
CHUNK = 2**16
HALF, WHOLE = 'at 1/2', 'whole image'  # Variants of a record.


def measure(
  samples: Iterable[tuple[dict, np.ndarray]],
  classes: labels.ClassSpec,
  *,
  step: int,
  with_shapes: bool,
  rule: decisions.Rule = decisions.PLAIN,
) -> records.Record:
  """Measures the logits of each image against its label.

  Each image is a group of its own. The variants of the record are HALF if the
  rule has thresholds, and WHOLE, with what is outside of the field of view, if
  the examples have one.

  Args:
    samples: the examples of a split, and the logits float32[H, W, K] of each.
    classes: classes of the planes.
    step: step of the checkpoint.
    with_shapes: whether to measure outlines and objects, which takes longer
      than all else.
    rule: how logits become masks.
  """
  names, cells, shapes = [], [], []
  others: dict[str, list[np.ndarray]] = {}
  histogram = np.zeros((len(classes.planes), 2, curves.BINS), np.int64)
  for example, x in samples:
    label = example['label']
    is_valid, truth = ~labels.is_void(label), all_planes(label, classes)
    pixels = _measure_pixels(x, truth, is_valid, exclusive=classes.exclusive)
    pred = decisions.decide(x, classes, rule)
    names.append(example['name'])
    cells.append(_count(pred, label, classes))
    histogram += pixels['histogram']
    if rule.thresholds:
      half = decisions.decide(x, classes, rule._replace(thresholds=()))
      others.setdefault(HALF, []).append(_count(half, label, classes))
    if 'whole_label' in example:
      whole = example['whole_label']
      others.setdefault(WHOLE, []).append(_count(pred, whole, classes))
    if with_shapes:
      binary = np.where(is_valid[..., None], pixels['logits'], -np.inf)
      foreground = [
        plane[..., -classes.num_foreground :]
        for plane in (pred & is_valid[..., None], truth, binary)
      ]
      shapes.append(_measure_shapes(*foreground))
  counted, nothing = np.stack(cells), records.NOTHING
  variants = [_to_counts(np.stack(x), classes) for x in others.values()]
  outlines, detected, levels = (
    map(np.stack, zip(*shapes, strict=True)) if shapes else [nothing] * 3
  )
  return records.Record(
    names=names,
    groups=names,
    planes=classes.planes,
    num_foreground=classes.num_foreground,
    step=step,
    counts=_to_counts(counted, classes),
    matrix=counted if classes.exclusive else nothing,
    histogram=histogram,
    outlines=outlines,
    objects=detected,
    levels=levels,
    variants=list(others),
    variant_counts=np.array(variants, np.int64),
  )


def all_planes(label: np.ndarray, classes: labels.ClassSpec) -> np.ndarray:
  """Returns where a label has each class, bool[H, W, K]; nowhere in void."""
  if classes.exclusive:
    return labels.to_planes(label, len(classes.planes), first=0)
  return classes.to_planes(label) & ~labels.is_void(label)[..., None]


def _chunks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
  """Yields arrays [H, W] or [H, W, K] as [CHUNK, K], the last padded by 0."""
  num_pixels = arrays[0].shape[0] * arrays[0].shape[1]
  flat = [x.reshape(num_pixels, -1) for x in arrays]
  for start in range(0, num_pixels, CHUNK):
    chunk = [x[start : start + CHUNK] for x in flat]
    padding = (0, CHUNK - len(chunk[0])), (0, 0)
    yield [np.pad(x, padding) for x in chunk]


def _count(
  pred: np.ndarray, label: np.ndarray, classes: labels.ClassSpec
) -> np.ndarray:
  """Counts the pixels of one image.

  Args:
    pred: bool[H, W, K].
    label: uint8[H, W] or [H, W, K], from labels.decode.
    classes: classes of the planes.

  Returns:
    int64[K, K] of matrix.count, or int64[K, 4] of counts.confusion if classes
    overlap.
  """
  arrays = pred, all_planes(label, classes), ~labels.is_void(label)
  parts = [
    _count_chunk(*chunk, exclusive=classes.exclusive)
    for chunk in _chunks(*arrays)
  ]
  return np.sum(jax.device_get(parts), axis=0, dtype=np.int64)


@functools.partial(jax.jit, static_argnames='exclusive')
def _count_chunk(
  pred: jax.Array, target: jax.Array, weight: jax.Array, *, exclusive: bool
) -> jax.Array:
  """Counts P pixels: int32 of `_count`, from bool[P, K] twice, bool[P, 1]."""
  weight = weight[:, 0]
  if exclusive:
    label = jnp.where(weight, jnp.argmax(target, axis=-1), -1)
    index = jnp.argmax(pred, axis=-1)
    return matrix.count(index[None], label[None], pred.shape[-1])[0]
  return counts.confusion(*(x[None, None] for x in (pred, target, weight)))[0]


def _to_counts(cells: np.ndarray, classes: labels.ClassSpec) -> np.ndarray:
  """Returns tp, fp, fn, tn, int64[..., K, 4], from what `_count` returns."""
  return matrix.to_counts(cells) if classes.exclusive else cells


def _measure_pixels(
  logits: np.ndarray, target: np.ndarray, weight: np.ndarray, *, exclusive: bool
) -> dict[str, np.ndarray]:
  """Measures the logits of one image.

  Args:
    logits: float32[H, W, K].
    target: bool[H, W, K].
    weight: bool[H, W], whether a pixel counts.
    exclusive: whether each pixel belongs to exactly one plane.

  Returns:
    `logits`, log p - log(1 - p), float32[H, W, K], and `histogram`, int64[K, 2,
    BINS].
  """
  parts = jax.device_get(
    [
      _measure_chunk(*chunk, exclusive=exclusive)
      for chunk in _chunks(logits, target, weight)
    ]
  )
  binary = np.concatenate([part['logits'] for part in parts])
  histogram = np.sum([x['histogram'] for x in parts], axis=0, dtype=np.int64)
  return dict(
    logits=binary[: weight.size].reshape(logits.shape), histogram=histogram
  )


@functools.partial(jax.jit, static_argnames='exclusive')
def _measure_chunk(
  logits: jax.Array, target: jax.Array, weight: jax.Array, *, exclusive: bool
) -> dict[str, jax.Array]:
  """Measures P pixels: float32[P, K], bool[P, K], bool[P, 1].

  Returns:
    `logits` and `histogram` of `_measure_pixels`, float32[P, K] and int32.
  """
  binary = curves.binary_logits(logits, exclusive=exclusive)
  histogram = curves.histogram(binary, target, weight[:, 0])
  return dict(logits=binary, histogram=histogram)


def _measure_shapes(
  pred: np.ndarray, truth: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Measures outlines and objects of the F foreground classes of one image.

  Args:
    pred: bool[H, W, F], without void pixels.
    truth: bool[H, W, F], without void pixels.
    logits: float32[H, W, F] of log p - log(1 - p), -inf in void pixels.

  Returns:
    Outlines, objects and levels of a Record, for one image.
  """
  outlines, counted, levels = [], [], []
  for k in range(pred.shape[-1]):
    mask, true = pred[..., k], truth[..., k]
    outlines.append([*surface.measure(mask, true).values()])
    counted.append(objects.count(mask, true))
    levels.append(objects.count_levels(logits[..., k], true))
  return np.array(outlines), np.stack(counted), np.stack(levels)

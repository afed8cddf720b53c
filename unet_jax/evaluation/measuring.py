"""Measures the logits of a split: counts, histograms, outlines and objects."""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data import labels
from unet_jax.evaluation import (
  counts,
  curves,
  matrix,
  objects,
  records,
  surface,
)

# Pixels of a call of the compiled function, which images fill up: one shape for
# images of all sizes.
CHUNK = 2**16


def measure(
  samples: Iterable[tuple[dict, np.ndarray]],
  classes: labels.ClassSpec,
  *,
  step: int,
  with_shapes: bool,
) -> records.Record:
  """Measures the logits of each image against its label.

  Each image is a group of its own.

  Args:
    samples: the examples of a split, and the logits float32[H, W, K] of each.
    classes: classes of the planes.
    step: step of the checkpoint.
    with_shapes: whether to measure outlines and objects, which takes longer
      than all else.
  """
  names, cells, shapes = [], [], []
  histogram = np.zeros((len(classes.planes), 2, curves.BINS), np.int64)
  for example, x in samples:
    is_valid = ~labels.is_void(example['label'])
    truth = all_planes(example['label'], classes)
    pixels = _measure_pixels(x, truth, is_valid, exclusive=classes.exclusive)
    names.append(example['name'])
    cells.append(pixels['cells'])
    histogram += pixels['histogram']
    if with_shapes:
      pred = counts.predicted_planes(x, exclusive=classes.exclusive)
      binary = np.where(is_valid[..., None], pixels['logits'], -np.inf)
      foreground = [
        plane[..., -classes.num_foreground :]
        for plane in (pred & is_valid[..., None], truth, binary)
      ]
      shapes.append(_measure_shapes(*foreground))
  counted, nothing = np.stack(cells), np.zeros(0, np.int64)
  outlines, detected, levels = (
    map(np.stack, zip(*shapes, strict=True)) if shapes else [nothing] * 3
  )
  return records.Record(
    names=names,
    groups=names,
    planes=classes.planes,
    num_foreground=classes.num_foreground,
    step=step,
    counts=matrix.to_counts(counted) if classes.exclusive else counted,
    matrix=counted if classes.exclusive else nothing,
    histogram=histogram,
    outlines=outlines,
    objects=detected,
    levels=levels,
  )


def all_planes(label: np.ndarray, classes: labels.ClassSpec) -> np.ndarray:
  """Returns where a label has each class, bool[H, W, K]; nowhere in void."""
  if classes.exclusive:
    return labels.to_planes(label, len(classes.planes), first=0)
  return classes.to_planes(label) & ~labels.is_void(label)[..., None]


def _measure_pixels(
  logits: np.ndarray, target: np.ndarray, weight: np.ndarray, *, exclusive: bool
) -> dict[str, np.ndarray]:
  """Measures the pixels of one image, CHUNK at a time.

  Args:
    logits: float32[H, W, K].
    target: bool[H, W, K].
    weight: bool[H, W], whether a pixel counts.
    exclusive: whether each pixel belongs to exactly one plane.

  Returns:
    `cells` and `histogram` of `_measure_chunk`, int64, and `logits` of it,
    float32[H, W, K].
  """
  arrays = [x.reshape(weight.size, -1) for x in (logits, target, weight)]
  parts = []
  for start in range(0, weight.size, CHUNK):
    chunk = [x[start : start + CHUNK] for x in arrays]
    padding = (0, CHUNK - len(chunk[0])), (0, 0)
    chunk = [np.pad(x, padding) for x in chunk]
    parts.append(_measure_chunk(*chunk, exclusive=exclusive))
  parts = jax.device_get(parts)
  binary = np.concatenate([part.pop('logits') for part in parts])
  sums = jax.tree.map(lambda *x: np.sum(x, axis=0, dtype=np.int64), *parts)
  return sums | {'logits': binary[: weight.size].reshape(logits.shape)}


@functools.partial(jax.jit, static_argnames='exclusive')
def _measure_chunk(
  logits: jax.Array, target: jax.Array, weight: jax.Array, *, exclusive: bool
) -> dict[str, jax.Array]:
  """Measures P pixels.

  Args:
    logits: float32[P, K].
    target: bool[P, K].
    weight: bool[P, 1], whether a pixel counts.
    exclusive: whether each pixel belongs to exactly one plane.

  Returns:
    `logits`, log p - log(1 - p), float32[P, K]; `histogram` int32[K, 2, BINS];
    and `cells`, int32[K, K] of matrix.count, or int32[K, 4] of counts.confusion
    if classes overlap.
  """
  binary = curves.binary_logits(logits, exclusive=exclusive)
  weight = weight[:, 0]
  if exclusive:
    label = jnp.where(weight, jnp.argmax(target, axis=-1), -1)
    pred = jnp.argmax(logits, axis=-1)
    cells = matrix.count(pred[None], label[None], logits.shape[-1])[0]
  else:
    pred = counts.predicted_planes(logits[None, None], exclusive=False)
    cells = counts.confusion(pred, target[None, None], weight[None, None])[0]
  histogram = curves.histogram(binary, target, weight)
  return dict(logits=binary, cells=cells, histogram=histogram)


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

"""Curves, calibration and thresholds, from histograms of the logits.

A histogram has BINS even bins of the logit log p - log(1 - p) from -LIMIT to
LIMIT; its outermost bins also hold what lies beyond. Even bins of the
probability would put most of a confident model's pixels into two of them. On
the host a histogram is int64[2, BINS] for each class: the pixels outside of the
class, then those inside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

BINS, LIMIT = 4096, 24.0
WIDTH = 2 * LIMIT / BINS
PROBABILITY_BINS = 15  # Of the calibration (Guo et al. 2017).
EDGES = WIDTH * (np.arange(BINS) - BINS // 2)  # The bins' lower edges.
CENTERS = EDGES + WIDTH / 2


class Threshold(NamedTuple):
  """A class is predicted where its logit is at least `logit`."""

  logit: float
  f1: float  # The F1 that this gives on the pixels of the histogram.


class Calibration(NamedTuple):
  """Even bins of the probability; NaN where a bin has no pixel."""

  pixels: np.ndarray  # int64[PROBABILITY_BINS]
  confidence: np.ndarray  # float64[PROBABILITY_BINS], mean probability.
  frequency: np.ndarray  # float64[PROBABILITY_BINS], share inside the class.
  error: float  # ECE, sum(pixels |confidence - frequency|) / sum(pixels).


def binary_logits(logits: jax.Array, *, exclusive: bool) -> jax.Array:
  """Returns log p - log(1 - p) of each plane, float32[..., K].

  Args:
    logits: float32[..., K].
    exclusive: whether p is the softmax over the planes. Then 1 - p is summed
      from the other planes, since 1 - p itself loses what float32 rounds off.
  """
  if not exclusive:
    return logits
  largest = jnp.max(logits, axis=-1, keepdims=True)
  shares = jnp.exp(logits - largest)
  is_largest = jax.nn.one_hot(
    jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=jnp.bool
  )
  others = jnp.sum(jnp.where(is_largest, 0, shares), axis=-1, keepdims=True)
  # The largest share is 1, so what is subtracted from does not cancel.
  rest = jnp.where(is_largest, others, 1 + others - shares)
  return logits - largest - jnp.log(rest)


def histogram(
  logits: jax.Array, target: jax.Array, weight: jax.Array
) -> jax.Array:
  """Counts the pixels by class, truth and logit.

  Args:
    logits: float32[B, H, W, K] of log p - log(1 - p), see `binary_logits`.
    target: float32[B, H, W, K]; pixels above 1/2 are inside the class.
    weight: float32[B, H, W]; a pixel counts unless it is 0.

  Returns:
    int32[K, 2, BINS].
  """
  num_planes = logits.shape[-1]
  # Clipped before the division, which keeps the sign: 0 is an edge.
  logits = jnp.clip(logits, -LIMIT, LIMIT)
  bins = jnp.floor(logits / WIDTH).astype(jnp.int32) + BINS // 2
  bins = jnp.minimum(bins, BINS - 1)
  plane = jax.lax.broadcasted_iota(jnp.int32, bins.shape, bins.ndim - 1)
  row = 2 * plane + (target > 0.5)
  length = 2 * BINS * num_planes
  # bincount drops what lies beyond its length.
  place = jnp.where((weight > 0)[..., None], row * BINS + bins, length)
  counts = jnp.bincount(place.reshape(-1), length=length)
  return counts.reshape(num_planes, 2, BINS)


def cumulate(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Counts what is predicted at each threshold, the bins' EDGES descending.

  Args:
    histogram: int64[2, BINS].

  Returns:
    False and true positives, int64[BINS] each.
  """
  false, true = np.cumsum(histogram[:, ::-1], axis=1)
  return false, true


def precision_recall(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns precision and recall, float64[BINS], at descending thresholds.

  Precision is NaN where nothing is predicted, recall where the class does not
  occur.

  Args:
    histogram: int64[2, BINS].
  """
  false, true = cumulate(histogram)
  with np.errstate(invalid='ignore'):
    return true / (true + false), true / np.float64(true[-1])


def average_precision(histogram: np.ndarray) -> float:
  """Sums the precision over the steps of recall, without interpolation.

  That is scikit-learn's average_precision_score; NaN if the class does not
  occur.

  Args:
    histogram: int64[2, BINS].
  """
  precision, recall = precision_recall(histogram)
  steps = np.diff(recall, prepend=0)
  return float(np.sum(np.where(steps == 0, 0, precision) * steps))


def roc(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns false and true positive rates, float64[BINS + 1], from (0, 0) on.

  A rate is NaN if no pixel is outside, or inside, the class.

  Args:
    histogram: int64[2, BINS].
  """
  counts = [np.append(0, x) for x in cumulate(histogram)]
  with np.errstate(invalid='ignore'):
    false, true = (x / np.float64(x[-1]) for x in counts)
  return false, true


def auroc(histogram: np.ndarray) -> float:
  """Returns the area under `roc`; NaN if one of its rates is."""
  false, true = roc(histogram)
  return float(np.trapezoid(true, false))


def best_threshold(histogram: np.ndarray) -> Threshold:
  """Returns the threshold of the highest F1; of equal ones, that nearest 0.

  It is one of EDGES. A class that does not occur keeps the threshold 0, its F1
  is NaN.

  Args:
    histogram: int64[2, BINS].
  """
  false, true = cumulate(histogram)
  if not true[-1]:
    return Threshold(0.0, np.nan)
  f1 = 2 * true / (true + false + true[-1])
  edges = EDGES[::-1]
  best = np.flatnonzero(f1 == f1.max())
  best = best[np.abs(edges[best]).argmin()]
  return Threshold(float(edges[best]), float(f1[best]))


def count_at(histogram: np.ndarray, logit: float) -> np.ndarray:
  """Counts tp, fp, fn, tn where the logit is at least that: int64[..., 4].

  Args:
    histogram: int64[..., 2, BINS].
    logit: one of EDGES.
  """
  first = round(logit / WIDTH) + BINS // 2
  positive = histogram[..., first:].sum(axis=-1)  # [..., 2]
  negative = histogram[..., :first].sum(axis=-1)
  cells = positive[..., 1], positive[..., 0], negative[..., 1], negative[..., 0]
  return np.stack(cells, axis=-1)


def calibrate(histogram: np.ndarray) -> Calibration:
  """Compares the probabilities with the frequencies (Guo et al. 2017).

  Every pixel has the probability of the centre of its logit's bin. Of softmax
  each class is judged alone, one against the rest.

  Args:
    histogram: int64[2, BINS].
  """
  probs = special.expit(CENTERS)
  place = np.minimum((probs * PROBABILITY_BINS).astype(int), 14)

  def add(x: np.ndarray) -> np.ndarray:
    return np.bincount(place, x, minlength=PROBABILITY_BINS)

  pixels = add(histogram.sum(axis=0))
  with np.errstate(invalid='ignore'):
    confidence = add(probs * histogram.sum(axis=0)) / pixels
    frequency = add(histogram[1]) / pixels
    gap = np.abs(confidence - frequency)
    error = np.nansum(pixels * gap) / pixels.sum()
  return Calibration(pixels.astype(int), confidence, frequency, float(error))


def temperature(histogram: np.ndarray) -> float:
  """Returns the T for which sigmoid(logit / T) is most likely.

  NaN if all pixels are inside the class, or all are outside. Of softmax each
  class is judged alone, one against the rest, so that this is not the T that
  divides all planes at once.

  Args:
    histogram: int64[2, BINS].
  """
  outside, inside = histogram
  if not outside.any() or not inside.any():
    return np.nan

  def loss(log_temperature: float) -> float:
    scaled = CENTERS / np.exp(log_temperature)
    surprise = outside * np.logaddexp(0, scaled)
    surprise += inside * np.logaddexp(0, -scaled)
    return surprise.sum() / histogram.sum()

  best = optimize.minimize_scalar(loss, bounds=(-4, 4), method='bounded')
  return float(np.exp(best.x))

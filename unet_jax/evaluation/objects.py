"""Detection of objects, such as lesions: connected components of masks.

Objects are 8-connected. An object of the truth is found if one predicted object
covers at least SHARE of it; a predicted object is right if at least SHARE of it
lies in the truth.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SHARE = 0.1
SQUARE = np.ones((3, 3))
RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # False objects per image.
LEVELS = tuple(range(-8, 9))  # Logits at which FROC cuts the prediction.


def count(pred: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Counts objects of one class in one image.

  Args:
    pred: bool[H, W].
    truth: bool[H, W].

  Returns:
    int64[5]: true objects, those found, predicted objects, those right, and
    true objects found by a right one.
  """
  return _count(pred, *ndimage.label(truth, SQUARE))


def _count(pred: np.ndarray, true_of: np.ndarray, num_true: int) -> np.ndarray:
  """Counts like `count`; the truth is labelled, int32[H, W]."""
  if not pred.any():
    return np.array([num_true, 0, 0, 0, 0])
  pred_of, num_pred = ndimage.label(pred, SQUARE)
  # Pixels of each pair of objects; 0 is outside of all.
  pair = true_of.astype(np.int64) * (num_pred + 1) + pred_of
  shape = num_true + 1, num_pred + 1
  pixels = np.bincount(pair.reshape(-1), minlength=shape[0] * shape[1])
  pixels = pixels.reshape(shape)
  covers = pixels[1:, 1:] >= SHARE * pixels[1:].sum(axis=1, keepdims=True)
  inside = pixels[1:, 1:].sum(axis=0)
  is_right = inside >= SHARE * pixels[:, 1:].sum(axis=0)
  is_found, is_met = covers.any(axis=1), (covers & is_right).any(axis=1)
  return np.array(
    [num_true, is_found.sum(), num_pred, is_right.sum(), is_met.sum()]
  )


def count_levels(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Counts the objects of `count` where the logits are at least each LEVEL.

  Args:
    logits: float32[H, W].
    truth: bool[H, W].

  Returns:
    int64[len(LEVELS), 5].
  """
  labelled = ndimage.label(truth, SQUARE)
  return np.stack([_count(logits >= level, *labelled) for level in LEVELS])


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
  """Returns recall, precision and F1 of objects, float64[...].

  A score of 0 / 0 is NaN; F1 is so without any true or predicted object.

  Args:
    counts: int64[..., 5] from `count`; sums over images pool their objects.
  """
  num_true, hit, num_pred, right, _ = np.moveaxis(
    counts.astype(np.float64), -1, 0
  )
  with np.errstate(invalid='ignore'):
    recall, precision = hit / num_true, right / num_pred
    # The harmonic mean, 0 if either is 0 or undefined.
    product = 2 * hit * right
    f1 = product / (hit * num_pred + right * num_true)
  f1 = np.where((product == 0) & (num_true + num_pred > 0), 0, f1)
  return {'recall': recall, 'precision': precision, 'f1': f1}


def froc(
  counts: np.ndarray, rates: Sequence[float] = RATES
) -> dict[float, float]:
  """Returns the recall at each number of false objects per image.

  It is the highest recall of a level that makes at most so many; 0 if each
  makes more, since no prediction makes none. Only what a right object finds
  counts, or a single object that covers the image would find all. NaN without
  true objects.

  Args:
    counts: int64[N, L, 5], from `count_levels`.
    rates: false objects per image.
  """
  num_true, _, num_pred, right, met = np.moveaxis(counts.sum(axis=0), -1, 0)
  false = (num_pred - right) / len(counts)  # [L]
  if not num_true[0]:
    return dict.fromkeys(rates, np.nan)
  recall = met / num_true
  return {
    rate: float(np.max(recall[false <= rate], initial=0)) for rate in rates
  }

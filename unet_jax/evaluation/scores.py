"""Computes every score of a report from confusion counts.

A score of 0 / 0 is undefined: NaN here, null in JSON, and left out of means. So
a class that neither occurs nor is predicted in an image or a split has no
score. A class that is predicted but doesn't occur has F1 = IoU = precision = 0.
scikit-learn does the same with `zero_division=nan`.
"""

import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import text_files

MEANS = ('macro', 'micro', 'weighted')


def ratios(counts: np.ndarray) -> dict[str, np.ndarray]:
  """Computes scores, float64[...] by name, from counts int64[..., 4].

  The counts are tp, fp, fn, tn, and precision = tp / (tp + fp), recall = tp /
  (tp + fn), specificity = tn / (tn + fp), accuracy = (tp + tn) / all, iou = tp
  / (tp + fp + fn). balanced_accuracy is the mean of recall and specificity. f1,
  which is Dice, f05 and f2 are `f_beta` with beta = 1, 1/2 and 2.
  """
  tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
  with np.errstate(divide='ignore', invalid='ignore'):
    recall, specificity = tp / (tp + fn), tn / (tn + fp)
    return {
      'precision': tp / (tp + fp),
      'recall': recall,
      'specificity': specificity,
      'accuracy': (tp + tn) / (tp + fp + fn + tn),
      'balanced_accuracy': (recall + specificity) / 2,
      'iou': tp / (tp + fp + fn),
      'f1': f_beta(counts, 1),
      'f05': f_beta(counts, 0.5),
      'f2': f_beta(counts, 2),
    }


def f_beta(counts: np.ndarray, beta: float) -> np.ndarray:
  """Computes (1 + b^2) tp / ((1 + b^2) tp + b^2 fn + fp), b = `beta`.

  Recall counts `beta` times as much as precision (van Rijsbergen 1979).

  Args:
    counts: int64[..., 4] of tp, fp, fn, tn.
    beta: weight of recall.

  Returns:
    float64[...].
  """
  tp, fp, fn, _ = np.moveaxis(counts.astype(np.float64), -1, 0)
  hits = (1 + beta**2) * tp
  with np.errstate(divide='ignore', invalid='ignore'):
    return hits / (hits + beta**2 * fn + fp)


def means(counts: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
  """Averages scores over the classes whose score is defined.

  macro: the mean of the scores of the classes. micro: the score of the sum of
  their counts. weighted: the mean weighted by support, tp + fn.

  Args:
    counts: int64[..., K, 4] of the foreground classes.

  Returns:
    {'macro', 'micro' or 'weighted': {name: float64[...]}}.
  """
  support = (counts[..., 0] + counts[..., 2]).astype(np.float64)
  per_class = ratios(counts)
  return {
    'macro': {name: mean(x) for name, x in per_class.items()},
    'micro': ratios(counts.sum(axis=-2)),
    'weighted': {name: mean(x, support) for name, x in per_class.items()},
  }


def report(
  counts: np.ndarray,
  names: Sequence[str],
  num_foreground: int,
  step: int,
  *,
  matrix: np.ndarray | None = None,
) -> dict:
  """Returns the report that `evaluation/<split>.json` holds, as nested dicts.

  `pooled` has the scores of all pixels together; `per_image` has the means over
  the images of each score, where it is defined. `additive_dice` is the sum of
  the planes' F1, as the tutorial adds them, and can exceed 1. With a matrix
  there are `matrix`, its sum over the images, and `overall`, see `overall`.

  Args:
    counts: int64[N, K, 4] of tp, fp, fn, tn.
    names: names of the K planes.
    num_foreground: number of foreground planes, the last ones; means are over
      these.
    step: step of the checkpoint.
    matrix: int64[N, K, K] of exclusive classes, from confusion.matrix.
  """
  pooled = counts.sum(axis=0)
  confusion = {
    name: dict(zip(('tp', 'fp', 'fn', 'tn'), row.tolist(), strict=True))
    for name, row in zip(names, pooled, strict=True)
  }
  per_image = _summary(counts, names, num_foreground)
  support, pixels = pooled[:, 0] + pooled[:, 2], pooled.sum(axis=-1)

  def by_class(trivial_scores: dict[str, np.ndarray]) -> dict:
    return {
      way: dict(zip(names, values.tolist(), strict=True))
      for way, values in trivial_scores.items()
    }

  result = {
    'pooled': pool(pooled, names, num_foreground),
    'per_image': _map(lambda x: float(mean(x)), per_image),
    'trivial_f1': by_class(trivial(support, pixels)),
    'trivial_accuracy': by_class(trivial_accuracy(support, pixels)),
    'additive_dice': float(np.nansum(ratios(pooled)['f1'])),
    'confusion': confusion,
    'num_images': len(counts),
    'checkpoint_step': step,
  }
  if matrix is not None:
    whole = matrix.sum(axis=0)
    result |= {'overall': overall(whole), 'matrix': whole.tolist()}
  return result


def pool(pooled: np.ndarray, names: Sequence[str], num_foreground: int) -> dict:
  """Returns `pooled` of a `report`, from the counts int64[K, 4] of a split."""
  return _map(float, _summary(pooled, names, num_foreground))


def overall(matrix: np.ndarray) -> dict[str, float]:
  """Scores all exclusive classes at once, the background included.

  accuracy: the share of the pixels whose class is right. balanced_accuracy: the
  mean recall of the classes that occur.

  Args:
    matrix: int64[K, K] of true (rows) and predicted classes.
  """
  with np.errstate(divide='ignore', invalid='ignore'):
    recall = np.diag(matrix) / matrix.sum(axis=1)
    accuracy = np.trace(matrix) / np.float64(matrix.sum())
  return {
    'accuracy': float(accuracy),
    'balanced_accuracy': float(mean(recall)),
  }


def row(
  counts: np.ndarray, names: Sequence[str], num_foreground: int
) -> dict[str, float]:
  """Returns pooled scores by flat names, such as `macro_f1` or `f1_vessels`.

  Takes the arguments of `report`: counts int64[N, K, 4], and so on.
  """
  pooled = counts.sum(axis=0)
  averages = means(pooled[-num_foreground:])
  scores = {
    f'{mean}_{name}': float(averages[mean][name])
    for mean in ('macro', 'micro')
    for name in ('f1', 'iou', 'precision', 'recall')
  }
  f1 = ratios(pooled)['f1'].tolist()
  return scores | {f'f1_{k}': x for k, x in zip(names, f1, strict=True)}


def score(counts: np.ndarray, num_foreground: int) -> float:
  """Returns the score that selects the best checkpoint: pooled macro F1.

  An undefined score is -1.

  Args:
    counts: int64[N, K, 4] of tp, fp, fn, tn.
    num_foreground: number of foreground planes, the last ones; the mean is over
      these.
  """
  pooled = counts.sum(axis=0)[-num_foreground:]
  value = float(means(pooled)['macro']['f1'])
  return value if math.isfinite(value) else -1.0


def trivial(
  support: np.ndarray, pixels: np.ndarray | int
) -> dict[str, np.ndarray]:
  """Returns the F1 of trivial predictions, float64[K] by name.

  Let p be the share of the class in the pixels. nowhere: no pixel is predicted
  as the class; F1 is 0. everywhere: every pixel is predicted as the class; F1
  is 2 p / (1 + p). prior: each pixel is predicted as the class with probability
  p; the expected F1 is p. A class that never occurs has NaN.

  Args:
    support: int64[K], number of pixels of each class.
    pixels: int64[K] or int64, number of pixels that count.
  """
  support = np.where(support > 0, support, np.nan)
  prior = support / np.maximum(pixels, 1)
  return {
    'nowhere': 0 * prior,
    'everywhere': 2 * prior / (1 + prior),
    'prior': prior,
  }


def trivial_accuracy(
  support: np.ndarray, pixels: np.ndarray | int
) -> dict[str, np.ndarray]:
  """Returns the accuracy of the predictions of `trivial`, float64[K] by name.

  With the class's share p it is 1 - p for nowhere, p for everywhere, and
  p^2 + (1 - p)^2 is expected for prior. Takes the arguments of `trivial`.
  """
  share = support / np.maximum(pixels, 1)
  return {
    'nowhere': 1 - share,
    'everywhere': share,
    'prior': share**2 + (1 - share) ** 2,
  }


def write(report: dict, path: pathlib.Path) -> None:
  """Writes a report as JSON; an undefined score is null."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(_map(_null, report), indent=2, allow_nan=False)
  text_files.write_text(path, text + '\n')


def _summary(counts: np.ndarray, names: Sequence[str], num_foreground: int):
  """Returns per_class and means, float64[...], of counts int64[..., K, 4]."""
  per_class = ratios(counts)
  per_class['support'] = counts[..., 0] + counts[..., 2]
  return {
    'per_class': {
      label: {name: x[..., i] for name, x in per_class.items()}
      for i, label in enumerate(names)
    },
    **means(counts[..., -num_foreground:, :]),
  }


def mean(x: np.ndarray, weight: np.ndarray | float = 1.0) -> np.ndarray:
  """Averages the finite values, [..., K] -> [...]; NaN if there is none."""
  is_defined = np.isfinite(x)
  weight = np.where(is_defined, weight, 0.0)
  with np.errstate(invalid='ignore'):
    return np.sum(np.where(is_defined, x, 0) * weight, -1) / np.sum(weight, -1)


def _map(function, tree):
  if isinstance(tree, dict):
    return {key: _map(function, value) for key, value in tree.items()}
  if isinstance(tree, list):
    return [_map(function, value) for value in tree]
  return function(tree)


def _null(value):
  return None if isinstance(value, float) and math.isnan(value) else value

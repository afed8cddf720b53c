"""Computes every score of a report from confusion counts.

A score of 0 / 0 is undefined: NaN here, null in JSON, and left out of means. So
a class that neither occurs nor is predicted in an image or a split has no
score. A class that is predicted but doesn't occur has F1 = IoU = precision = 0.
"""

import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import defaults, text_files

NAMES = ('precision', 'recall', 'accuracy', 'iou', 'f1')


def ratios(counts: np.ndarray) -> dict[str, np.ndarray]:
  """Computes scores, float64[...] by name, from counts int64[..., 4].

  The counts are tp, fp, fn, tn, and precision = tp / (tp + fp), recall = tp /
  (tp + fn), accuracy = (tp + tn) / all, iou = tp / (tp + fp + fn), f1 = 2 tp /
  (2 tp + fp + fn), which is Dice.
  """
  tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
  with np.errstate(divide='ignore', invalid='ignore'):
    return {
      'precision': tp / (tp + fp),
      'recall': tp / (tp + fn),
      'accuracy': (tp + tn) / (tp + fp + fn + tn),
      'iou': tp / (tp + fp + fn),
      'f1': 2 * tp / (2 * tp + fp + fn),
    }


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
    'macro': {name: _mean(x, np.ones_like(x)) for name, x in per_class.items()},
    'micro': ratios(counts.sum(axis=-2)),
    'weighted': {name: _mean(x, support) for name, x in per_class.items()},
  }


def report(
  counts: np.ndarray, names: Sequence[str], num_foreground: int, step: int
) -> dict:
  """Returns the report that `evaluation/<split>.json` holds, as nested dicts.

  `pooled` has the scores of all pixels together; `per_image` has the means over
  the images of each score, where it is defined.

  Args:
    counts: int64[N, K, 4] of tp, fp, fn, tn.
    names: names of the K planes.
    num_foreground: number of foreground planes, the last ones; means are over
      these.
    step: step of the checkpoint.
  """
  pooled = counts.sum(axis=0)
  confusion = {
    name: dict(zip(('tp', 'fp', 'fn', 'tn'), row.tolist(), strict=True))
    for name, row in zip(names, pooled, strict=True)
  }
  per_image = _summary(counts, names, num_foreground)
  blind = trivial(pooled[:, 0] + pooled[:, 2], pooled.sum(axis=-1))
  return {
    'pooled': _map(float, _summary(pooled, names, num_foreground)),
    'per_image': _map(lambda x: float(_mean(x, np.ones_like(x))), per_image),
    'trivial_f1': {
      name: dict(zip(names, f1.tolist(), strict=True))
      for name, f1 in blind.items()
    },
    'additive_dice': float(np.nansum(ratios(pooled)['f1'])),
    'confusion': confusion,
    'num_images': len(counts),
    'checkpoint_step': step,
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


def baseline(counts: np.ndarray, num_foreground: int, lr: float) -> str:
  """Describes the macro F1 of trivial predictions; warns of a run no better.

  Takes the arguments of `score`: counts int64[N, K, 4], and so on; and the
  run's learning rate.
  """
  pooled = counts.sum(axis=0)[-num_foreground:]
  f1s = trivial(pooled[:, 0] + pooled[:, 2], pooled.sum(axis=-1))
  blind = {k: float(_mean(f1, np.ones_like(f1))) for k, f1 in f1s.items()}
  parts = [f'{name} {f1:.4f}' for name, f1 in blind.items()]
  text = f'macro F1 of trivial predictions: {", ".join(parts)}'
  reached = score(counts, num_foreground)
  if 0 <= reached <= max(blind.values()):
    text += (
      f'\n{reached:.4f} is no better than a trivial prediction: train longer, '
      'or check the data with unet_jax.doctor'
    )
    usual = defaults.KEYS['optim.lr'].value
    if not usual / 2 <= lr <= usual * 2:
      text += f', or set config.optim.lr nearer {usual:g} (now {lr:g})'
  return text


def write(report: dict, path: pathlib.Path) -> None:
  """Writes a report as JSON; an undefined score is null."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(_map(_null, report), indent=2, allow_nan=False)
  text_files.write_text(path, text + '\n')


def table(report: dict) -> str:
  """Formats the pooled scores as plain text, a line for each class.

  `blind F1` is the F1 of predicting every pixel as the class, the best F1 that
  a prediction reaches without the image.
  """
  pooled, blind = report['pooled'], report['trivial_f1']['everywhere']
  rows: list[tuple[str, ...]] = [('class', *NAMES, 'blind F1', 'support')]
  rows += [
    (name, *_cells(row), _cell(blind[name]), f'{row["support"]:.0f}')
    for name, row in pooled['per_class'].items()
  ]
  rows += [
    (mean, *_cells(pooled[mean]), '', '')
    for mean in ('macro', 'micro', 'weighted')
  ]
  width = max(len(row[0]) for row in rows)
  return '\n'.join(
    f'{row[0]:<{width}}' + ''.join(f'{cell:>11}' for cell in row[1:])
    for row in rows
  )


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


def _mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
  """Averages the finite values, [..., K] -> [...]; NaN if there is none."""
  is_defined = np.isfinite(x)
  weight = np.where(is_defined, weight, 0)
  with np.errstate(invalid='ignore'):
    return np.sum(np.where(is_defined, x, 0) * weight, -1) / np.sum(weight, -1)


def _map(function, tree):
  if isinstance(tree, dict):
    return {key: _map(function, value) for key, value in tree.items()}
  return function(tree)


def _null(value):
  return None if isinstance(value, float) and math.isnan(value) else value


def _cells(scores: dict) -> list[str]:
  return [_cell(scores[name]) for name in NAMES]


def _cell(score: float) -> str:
  return '-' if math.isnan(score) else f'{score:.4f}'

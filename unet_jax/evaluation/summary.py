"""The report of an evaluation, from what it measured."""

import numpy as np
from scipy import special

from unet_jax.evaluation import (
  bootstrap,
  curves,
  objects,
  records,
  scores,
  surface,
)

MACRO = ('f1', 'iou', 'precision', 'recall')  # Means that have an interval.


def summarise(record: records.Record) -> dict:
  """Returns what `evaluation/<split>.json` holds, as nested dicts.

  That is scores.report, and
    num_groups: number of groups of images, such as patients.
    intervals: {name of scores.row: [lower, upper]}, of 95 %, over the groups.
    variants: {another way to count: its `pooled`, see scores.report}.
    curves: {class: ap, auroc, ece, temperature, threshold (a probability) and
      threshold_f1}, see curves.
    outlines: {class: {score of surface: `mean` over the images where it is
      defined, and `undefined`, number of the other images}}.
    objects: {class: true, found, predicted and right objects of all images,
      those met by a right one, recall, precision and f1, and froc: {false
      objects per image: recall}}.
  The last two are there only if they were measured.
  """
  planes, num = list(record.planes), record.num_foreground
  matrix = record.matrix if record.matrix.size else None
  report = scores.report(record.counts, planes, num, record.step, matrix=matrix)
  report['num_groups'] = len(set(record.groups))
  report['intervals'] = intervals(record)
  report['variants'] = {
    name: scores.pool(counts.sum(axis=0), planes, num)
    for name, counts in zip(record.variants, record.variant_counts, strict=True)
  }
  report['curves'] = {
    name: summarise_curves(histogram)
    for name, histogram in zip(planes, record.histogram, strict=True)
  }
  if record.outlines.size:
    foreground = list(enumerate(planes[-num:]))
    report['outlines'] = {
      name: summarise_outlines(record.outlines[:, k]) for k, name in foreground
    }
    report['objects'] = {
      name: summarise_objects(record.objects[:, k], record.levels[:, k])
      for k, name in foreground
    }
  return report


def intervals(record: records.Record) -> dict[str, list[float]]:
  """Returns {name of scores.row: [lower, upper]}; NaN with one group."""
  bounds = bootstrap.intervals(
    record.counts, lambda counts: statistics(record, counts), record.groups
  )
  return dict(zip(statistic_names(record), bounds.tolist(), strict=True))


def statistic_names(record: records.Record) -> list[str]:
  """Returns the names of the last axis of `statistics`."""
  return [f'macro_{x}' for x in MACRO] + [f'f1_{x}' for x in record.planes]


def statistics(record: records.Record, counts: np.ndarray) -> np.ndarray:
  """Scores pooled counts, int64[..., K, 4] -> float64[..., S]."""
  macro = scores.means(counts[..., -record.num_foreground :, :])['macro']
  means = np.stack([macro[name] for name in MACRO], axis=-1)
  return np.concatenate([means, scores.ratios(counts)['f1']], axis=-1)


def summarise_curves(histogram: np.ndarray) -> dict[str, float]:
  """Returns the scores of a class's curves; see `summarise`.

  Args:
    histogram: int64[2, BINS].
  """
  threshold = curves.best_threshold(histogram)
  return {
    'ap': curves.average_precision(histogram),
    'auroc': curves.auroc(histogram),
    'ece': curves.calibrate(histogram).error,
    'temperature': curves.temperature(histogram),
    'threshold': float(special.expit(threshold.logit)),
    'threshold_f1': threshold.f1,
  }


def summarise_outlines(outlines: np.ndarray) -> dict[str, dict[str, float]]:
  """Averages a class's outlines float64[N, 4]; see `summarise`."""
  return {
    name: {
      'mean': float(scores.mean(x)),
      'undefined': int(np.count_nonzero(np.isnan(x))),
    }
    for name, x in zip(surface.NAMES, outlines.T, strict=True)
  }


def summarise_objects(counted: np.ndarray, levels: np.ndarray) -> dict:
  """Pools a class's objects, int64[N, 5] and int64[N, L, 5]."""
  pooled = counted.sum(axis=0)
  names = ('true', 'found', 'predicted', 'right', 'met')
  rates = objects.froc(levels)
  return {
    **dict(zip(names, pooled.tolist(), strict=True)),
    **{name: float(x) for name, x in objects.scores(pooled).items()},
    'froc': {f'{rate:g}': recall for rate, recall in rates.items()},
  }

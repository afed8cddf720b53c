"""Thresholds of the highest F1 on val, saved beside the evaluations.

evaluation/thresholds.json names the weights that they are for, since they say
nothing about others, and the images that they were chosen on. Averages of views
or of checkpoints have a file of their own.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import special

from unet_jax import errors, text_files
from unet_jax.data import labels
from unet_jax.evaluation import curves, scores


def path(workdir: pathlib.Path, averages: Sequence[str] = ()) -> pathlib.Path:
  """Returns the file of the thresholds of a run, or of averages of it."""
  name = '_'.join(['thresholds', *averages])
  return workdir / 'evaluation' / f'{name}.json'


def planes(classes: labels.ClassSpec) -> tuple[str, ...]:
  """Returns the planes that have thresholds, which are all.

  Raises:
    InputError: if the classes exclude each other.
  """
  if classes.exclusive:
    raise errors.InputError(
      '--thresholds: classes that exclude each other have none, the most '
      'probable one wins; leave the flag out'
    )
  return classes.planes


def choose(
  histogram: np.ndarray,
  planes: Sequence[str],
  *,
  weights: Sequence[str],
  origin: str,
) -> dict:
  """Chooses the threshold of the highest F1 for each class.

  Args:
    histogram: int64[K, 2, BINS] of the images to choose on; see curves. A class
      that does not occur in them keeps 1/2.
    planes: names of the K classes.
    weights: what names the weights, such as 'step 300'.
    origin: where they come from, such as 'chosen on val'.

  Returns:
    What thresholds.json holds.
  """
  classes = {}
  for name, counted in zip(planes, histogram, strict=True):
    best = curves.best_threshold(counted)
    half = scores.ratios(curves.count_at(counted, 0.0))['f1']
    classes[name] = {
      'threshold': float(special.expit(best.logit)),
      'logit': best.logit,
      'f1': best.f1,
      'f1_at_half': float(half),
    }
  return dict(weights=list(weights), origin=origin, classes=classes)


def read(
  path: pathlib.Path, weights: Sequence[str], planes: Sequence[str]
) -> dict | None:
  """Reads thresholds.json; None if it is not there, or of other weights.

  Raises:
    InputError: if the file is damaged.
  """
  if not path.exists():
    return None
  saved = text_files.read_json(
    path, 'remove it, and evaluate with --thresholds'
  )
  is_theirs = saved.get('weights') == list(weights)
  return saved if is_theirs and [*saved['classes']] == [*planes] else None


def find(
  path: pathlib.Path,
  weights: Sequence[str],
  classes: labels.ClassSpec,
  command: str,
) -> dict:
  """Reads the thresholds of a run, which must be there.

  Args:
    path: of the file, from `path`.
    weights: what names the weights.
    classes: classes of the planes.
    command: what chooses and saves the thresholds.

  Raises:
    InputError: if they are not there, or the classes exclude each other.
  """
  saved = read(path, weights, planes(classes))
  if not saved:
    raise errors.InputError(
      f'--thresholds: {path} holds none for {", ".join(weights)}; choose them '
      f'on val by: {command}'
    )
  return saved


def logits(saved: dict) -> tuple[float, ...]:
  """Returns the logit of each class from which on it is predicted."""
  return tuple(row['logit'] for row in saved['classes'].values())


def describe(saved: dict) -> str:
  """Returns a line on what was chosen, and on which images."""
  each = ', '.join(
    f'{name} {row["threshold"]:.3f}' for name, row in saved['classes'].items()
  )
  return f'thresholds: {each} ({saved["origin"]})'

"""Scores the masks of a second observer as if they were a prediction."""

import pathlib

import numpy as np

from unet_jax import parallel
from unet_jax.data import labels, sources
from unet_jax.evaluation import measuring, records, scores, summary, tables

CERTAIN = 20.0  # The logit of what an observer has marked.


def evaluate(
  observed: sources.Source,
  source: sources.Source,
  classes: labels.ClassSpec,
  path: pathlib.Path,
) -> str:
  """Scores masks, and writes their report and counts.

  Args:
    observed: the split with the labels to score; void counts as background.
    source: the same split with the labels that are the truth.
    classes: classes of the planes.
    path: of the report, a .json; a .npz is written beside it.

  Returns:
    A table, as text.
  """
  samples = (
    (example, to_logits(other.get('whole_label', other['label']), classes))
    for example, other in zip(source, observed, strict=True)
  )
  record = measuring.measure(samples, classes, step=0, with_shapes=True)
  report = summary.summarise(record)
  del report['curves'], report['checkpoint_step']  # A mask has neither.
  if parallel.is_first():
    records.write(record, path.with_suffix('.npz'))
    scores.write(report, path)
  return f'{tables.describe(report)}\nwritten to {path}'


def to_logits(label: np.ndarray, classes: labels.ClassSpec) -> np.ndarray:
  """Returns logits float32[H, W, K] that predict a label.

  Args:
    label: uint8[H, W] or [H, W, K], from labels.decode.
    classes: classes of the planes.
  """
  planes = measuring.all_planes(label, classes)
  return np.where(planes, np.float32(CERTAIN), np.float32(-CERTAIN))

"""The plots of a report: training, precision and recall, calibration."""

from collections.abc import Sequence

import numpy as np

from unet_jax.evaluation import curves
from unet_jax.evaluation.report import plots
from unet_jax.evaluation.report import run as run_lib

STEP = plots.Axis('step')
SHARE = (0.0, 1.0)


def draw(runs: Sequence[run_lib.Run]) -> list[str]:
  """Returns the plots of one or several runs as HTML figures.

  Several runs share a plot, with a line each.
  """
  drawn = _training(runs)
  for name in _classes(runs):
    drawn += _class_curves(runs, name)
  return drawn


def _training(runs: Sequence[run_lib.Run]) -> list[str]:
  """Plots losses, scores, learning rate and gradients by step."""
  losses, rates, norms, f1s = [], [], [], []
  for run in runs:
    for split in ('train', 'val'):
      losses.append(_by_step(run, split, 'loss', _title(runs, run, split)))
    rates.append(_by_step(run, 'train', 'learning_rate', _title(runs, run)))
    norms.append(_by_step(run, 'train', 'grad_norm', _title(runs, run)))
    keys = {'macro_f1': 'macro'}
    if len(runs) == 1:
      keys |= {f'f1_{name}': name for name in run.config['data.classes']}
    f1s += [
      _by_step(run, 'val', key, _title(runs, run, name))
      for key, name in keys.items()
    ]
  terms = _terms(runs[0]) if len(runs) == 1 else []
  parts = (
    ('Loss', losses, plots.Axis('loss')),
    ('Terms of the loss', terms, plots.Axis('loss')),
    ('F1 on val', f1s, plots.Axis('F1', SHARE)),
    ('Learning rate', rates, plots.Axis('rate')),
    ('Norm of the gradient', norms, plots.Axis('norm')),
  )
  drawn = []
  for title, lines, axis in parts:
    lines = [line for line in lines if len(line.x)]
    if lines:
      drawn.append(plots.plot(title, lines, STEP, axis))
  return drawn


def _terms(run: run_lib.Run) -> list[plots.Line]:
  """Returns a line for each term of the training loss if there are several."""
  keys = {key for row in run.rows if row['split'] == 'train' for key in row}
  names = sorted(x.removesuffix('_loss') for x in keys if x.endswith('_loss'))
  lines = [_by_step(run, 'train', f'{name}_loss', name) for name in names]
  return lines if len(lines) > 1 else []


def _by_step(run: run_lib.Run, split: str, key: str, title: str) -> plots.Line:
  rows = [row for row in run.rows if row['split'] == split and key in row]
  steps = np.array([row['step'] for row in rows], float)
  values = np.array([row[key] for row in rows], float)  # None becomes NaN.
  return plots.Line(title, steps, values)


def _title(
  runs: Sequence[run_lib.Run], run: run_lib.Run, detail: str = ''
) -> str:
  return f'{run.name} {detail}'.strip() if len(runs) > 1 else detail


def _classes(runs: Sequence[run_lib.Run]) -> list[str]:
  """Returns the foreground classes that every run has."""
  first, *others = (run.config['data.classes'] for run in runs)
  return [name for name in first if all(name in x for x in others)]


def _class_curves(runs: Sequence[run_lib.Run], name: str) -> list[str]:
  """Plots precision over recall, and frequency over probability."""
  pairs, calibrations = [], []
  for run in runs:
    split = run.splits[0]
    if split.record is None:
      continue
    k = list(split.record.planes).index(name)
    histogram = split.record.histogram[k]
    title, row = _title(runs, run), split.report['curves'][name]
    precision, recall = curves.precision_recall(histogram)
    text = f'{title} AP {_number(row["ap"])}'.strip()
    pairs.append(plots.Line(text, recall, precision))
    bins = curves.calibrate(histogram)
    text = f'{title} error {_number(row["ece"])}'.strip()
    calibrations.append(
      plots.Line(text, bins.confidence, bins.frequency, marked=True)
    )
  if not pairs:
    return []
  calibrations.append(
    plots.Line('calibrated', np.array(SHARE), np.array(SHARE))
  )
  recall_axis, precision_axis, probability, frequency = (
    plots.Axis(x, SHARE)
    for x in ('recall', 'precision', 'probability', 'share')
  )
  return [
    plots.plot(
      f'{name}: precision and recall', pairs, recall_axis, precision_axis
    ),
    plots.plot(f'{name}: calibration', calibrations, probability, frequency),
  ]


def _number(value: float | None) -> str:
  return '–' if value is None else f'{value:.3f}'

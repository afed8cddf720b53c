"""Formats scores as text for the terminal."""

import math
from collections.abc import Sequence

import numpy as np

from unet_jax import defaults
from unet_jax.data.checks import finding
from unet_jax.evaluation import scores

NAMES = ('precision', 'recall', 'accuracy', 'iou', 'f1')  # Columns.
# A class is rare if predicting it nowhere has this accuracy. Its accuracy says
# something if it removes at least this share of that prediction's error.
RARE, REMOVED = 0.9, 0.1


def describe(report: dict) -> str:
  """Formats all tables of a report, and its cautions; see summary.summarise."""
  parts = [table(report), *_details(report)]
  lower, upper = report['intervals']['macro_f1']
  if not math.isnan(lower):
    over = 'images'
    if report['num_groups'] < report['num_images']:
      over = f'{report["num_groups"]} groups of images'
    parts.append(
      f'95 % interval of the macro F1, over the {over}: {lower:.4f} to '
      f'{upper:.4f}'
    )
  if text := caution(report):
    parts.append(text)
  return '\n'.join(parts)


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
  means = scores.MEANS if len(rows) > 2 else ()  # Those of one class equal it.
  rows += [(mean, *_cells(pooled[mean]), '', '') for mean in means]
  # Reports of earlier versions have no variants.
  for variant, other in report.get('variants', {}).items():
    rows += [
      (f'{name}, {variant}', *_cells(row), '', f'{row["support"]:.0f}')
      for name, row in other['per_class'].items()
    ]
    rows += [
      (f'{mean}, {variant}', *_cells(other[mean]), '', '') for mean in means[:1]
    ]
  return _lay_out(rows)


def _details(report: dict) -> list[str]:
  """Formats the scores of curves, outlines and objects, where there are any."""
  tables: list[list[tuple[str, ...]]] = []
  if 'curves' in report:
    heads = ('AP', 'AUROC', 'ECE', 'temper.', 'best thr.', 'its F1')
    tables.append([('curves', *heads)])
    for name, row in report['curves'].items():
      tables[-1].append((name, *map(_cell, row.values())))
  if 'outlines' in report:
    heads = (
      'bound. IoU',
      'HD95',
      'surf. Dice',
      'clDice',
      'obj. rec.',
      'obj. prec.',
    )
    tables.append([('shapes', *heads)])
    for name, row in report['outlines'].items():
      means = (score['mean'] for score in row.values())
      detected = report['objects'][name]
      rates = (detected[key] for key in ('recall', 'precision'))
      tables[-1].append((name, *map(_cell, (*means, *rates))))
  return [_lay_out(rows) for rows in tables]


def _lay_out(rows: Sequence[Sequence[str]]) -> str:
  """Aligns the first column to the left, the others to the right."""
  width = max(len(row[0]) for row in rows)
  return '\n'.join(
    f'{row[0]:<{width}}' + ''.join(f'{cell:>11}' for cell in row[1:])
    for row in rows
  )


def baseline(counts: np.ndarray, num_foreground: int, lr: float) -> str:
  """Describes the macro F1 of trivial predictions; warns of a run no better.

  Takes the arguments of `score`: counts int64[N, K, 4], and so on; and the
  run's learning rate.
  """
  pooled = counts.sum(axis=0)[-num_foreground:]
  f1s = scores.trivial(pooled[:, 0] + pooled[:, 2], pooled.sum(axis=-1))
  blind = {k: float(scores.mean(f1)) for k, f1 in f1s.items()}
  parts = [f'{name} {f1:.4f}' for name, f1 in blind.items()]
  text = f'macro F1 of trivial predictions: {", ".join(parts)}'
  reached = scores.score(counts, num_foreground)
  if 0 <= reached <= max(blind.values()):
    text += (
      f'\n{reached:.4f} is no better than a trivial prediction: train longer, '
      'or check the data with unet_jax.doctor'
    )
    usual = defaults.KEYS['optim.lr'].value
    if not usual / 2 <= lr <= usual * 2:
      text += f', or set config.optim.lr nearer {usual:g} (now {lr:g})'
  return text


def caution(report: dict) -> str:
  """Names the classes whose accuracy says nothing; '' if there is none.

  Such a class is rare, its accuracy is high, and less than the share REMOVED
  of the error of predicting the class nowhere is removed.

  Args:
    report: from scores.report.
  """
  misleading = []
  for name, blind in report['trivial_accuracy']['nowhere'].items():
    row = report['pooled']['per_class'][name]
    gain = row['accuracy'] - blind
    is_high = min(blind, row['accuracy']) >= RARE
    if is_high and row['support'] and gain < REMOVED * (1 - blind):
      misleading.append(name)
  if not misleading:
    return ''
  name = misleading[0]
  row = report['pooled']['per_class'][name]
  return (
    f'accuracy says nothing about {finding.some(misleading)}: {name} reaches '
    f'{row["accuracy"]:.4f}, and would reach '
    f'{report["trivial_accuracy"]["nowhere"][name]:.4f} if no pixel were '
    f'predicted as it; F1 is {_cell(row["f1"])}'
  )


def _cells(row: dict) -> list[str]:
  return [_cell(row[name]) for name in NAMES]


def _cell(score: float | None) -> str:
  is_defined = score is not None and not math.isnan(score)
  return f'{score:.4f}' if is_defined else '-'

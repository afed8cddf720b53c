"""Says in words how good a run is, and what to do next."""

from unet_jax.data.checks import finding
from unet_jax.evaluation import records
from unet_jax.evaluation.report import run as run_lib

UNBALANCED = 1.2  # Precision over recall, or the reverse.
GAIN = 0.01  # F1 by which a threshold, or a trend, is worth a word.
WIDE = 0.1  # Width of an interval that leaves a score vague.
OVERFIT = 1.5  # Loss on val over that on train.


def verdict(run: run_lib.Run) -> str:
  """Returns the macro F1 with its interval, beside blind predictions."""
  split = run.splits[0]
  report = split.report
  f1 = report['pooled']['macro']['f1']
  bounds = report.get('intervals', {}).get('macro_f1', [None])
  between = ''
  if bounds[0] is not None:
    between = f' (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})'
  text = 'is undefined' if f1 is None else f'is {f1:.3f}{between}'
  return (
    f'The macro F1 on the {report["num_images"]} images of {split.name} '
    f'{text}; predicting each class everywhere scores {_blind(run):.3f}.'
  )


def advise(run: run_lib.Run) -> list[str]:
  """Returns sentences about the first split, the most important first."""
  split = run.splits[0]
  report, texts = split.report, []
  f1 = report['pooled']['macro']['f1'] or 0.0
  if f1 <= _blind(run):
    texts.append(
      'The model is no better than a blind prediction: train longer, or check '
      'the data with unet_jax.doctor.'
    )
  bounds = report.get('intervals', {}).get('macro_f1', [None])
  if bounds[0] is not None and bounds[1] - bounds[0] > WIDE:
    texts.append(
      f'The interval is wide: differences of less than about '
      f'{(bounds[1] - bounds[0]) / 2:.2f} between runs may be chance. More '
      f'images in {split.name} narrow it.'
    )
  missed = [
    name
    for name in run.config['data.classes']
    if not report['pooled']['per_class'][name]['recall']
    and report['pooled']['per_class'][name]['support']
  ]
  if missed:
    texts.append(
      f'The model finds no pixel of {finding.some(missed)}: train longer, set '
      'config.loss.class_weights=inverse, or merge such a class with one that '
      'looks like it (config.data.masks.merge).'
    )
  for name in run.config['data.classes']:
    if name not in missed:
      texts += _balance(report, name)
    texts += _threshold(report, name)
  return texts + _of_training(run.rows) + _worst(split)


def _blind(run: run_lib.Run) -> float:
  """Returns the macro F1 of predicting each foreground class everywhere."""
  each = run.splits[0].report['trivial_f1']['everywhere']
  foreground = [each[name] for name in run.config['data.classes']]
  defined = [f1 for f1 in foreground if f1 is not None]
  return sum(defined) / max(1, len(defined))


def _balance(report: dict, name: str) -> list[str]:
  """Compares a class's precision with its recall."""
  row = report['pooled']['per_class'][name]
  precision, recall = row['precision'] or 0.0, row['recall'] or 0.0
  if precision > UNBALANCED * recall:
    fault = 'misses more than it invents'
  elif recall > UNBALANCED * precision:
    fault = 'invents more than it misses'
  else:
    return []
  return [
    f'{name}: the model {fault} (precision {precision:.3f}, recall '
    f'{recall:.3f}).'
  ]


def _threshold(report: dict, name: str) -> list[str]:
  """Compares 1/2 with the best threshold of a class."""
  if 'matrix' in report:  # Exclusive classes: the largest plane wins.
    return []
  f1 = report['pooled']['per_class'][name]['f1'] or 0.0
  curve = report.get('curves', {}).get(name, {})
  best = curve.get('threshold_f1') or 0.0
  if best - f1 <= GAIN:
    return []
  return [
    f'{name}: with the threshold {curve["threshold"]:.3f} instead of 0.5 F1 '
    f'would be {best:.3f} on these images, not {f1:.3f}; with --thresholds '
    'evaluate and predict take that of val.'
  ]


def _of_training(rows: list[dict]) -> list[str]:
  """Judges the curves of training: still rising, or overfitted."""
  val = [row for row in rows if row['split'] == 'val' and 'macro_f1' in row]
  train = [row for row in rows if row['split'] == 'train' and row.get('loss')]
  texts = []
  if len(val) >= 4:
    f1s = [row['macro_f1'] or 0.0 for row in val]
    if f1s[-1] == max(f1s) and f1s[-1] - max(f1s[: -len(f1s) // 4]) > GAIN:
      texts.append(
        'The score on val was still rising at the end: train longer '
        '(config.total_steps).'
      )
  losses = [row['loss'] for row in val if row.get('loss')]
  if losses and train and losses[-1] > OVERFIT * max(train[-1]['loss'], 1e-6):
    texts.append(
      f'The loss is {losses[-1]:.3g} on val and {train[-1]["loss"]:.3g} in '
      'training: more images or stronger augmentation would help.'
    )
  return texts


def _worst(split: run_lib.Split) -> list[str]:
  """Names the three images with the lowest macro F1."""
  if split.record is None or len(split.record.names) < 4:
    return []
  worst = ', '.join(
    f'{split.record.names[i]} ({f1:.3f})'
    for i, f1 in records.rank(split.record)[:3]
  )
  return [f'It fails most on {worst}.'] if worst else []

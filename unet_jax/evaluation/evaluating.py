"""Scores a trained model on a split, and writes what is known of it."""

import itertools
import pathlib

import jax
import numpy as np

from unet_jax import errors, parallel
from unet_jax.data import files, pipeline, sources, spec, split_drawing, splits
from unet_jax.data import observer as data_observer
from unet_jax.data.checks import finding
from unet_jax.evaluation import (
  curves,
  measuring,
  observer,
  panels,
  pictures,
  predictor,
  records,
  scores,
  summary,
  tables,
  thresholds,
  trained,
)
from unet_jax.evaluation.report import page


def evaluate(
  model: trained.Trained,
  source: sources.Examples,
  workdir: pathlib.Path,
  split: str,
  *,
  with_shapes: bool = False,
) -> tuple[dict[str, float], str]:
  """Scores a split on all devices.

  Args:
    model: the model, from trained.load.
    source: examples of the split.
    workdir: folder of the run, for evaluation/<split>.json and what is beside
      it, and for report.html; see docs/evaluation.md. Options of the model add
      to the names of the files, and are not in report.html.
    split: name of the split.
    with_shapes: whether to score outlines and objects, too.

  Returns:
    The scores by flat names, and a table, as text.
  """
  model = _with_window(model, source)
  record = _measure(model, source, with_shapes=with_shapes)
  record, note = _with_groups(record, spec.read(model.config))
  report = summary.summarise(record) | {
    'options': model.options(),
    'environment': {
      'software': f'JAX {jax.__version__}',
      'devices': parallel.describe_devices(),
    },
  }
  path = workdir / 'evaluation' / f'{split}{model.tag()}.json'
  drawn = model.predictor, model.variables, source
  first = panels.draw(*drawn, model.rule)
  report['pictures'] = panels.draw_ranked(*drawn, record, path, rule=model.rule)
  shown = f'; {workdir / page.NAME} shows it' if not model.tag() else ''
  if parallel.is_first():
    files.write_png(pictures.sheet(first), path.with_suffix('.png'))
    records.write(record, path.with_suffix('.npz'))
    records.write_csv(record, path.with_suffix('.csv'))
    scores.write(report, path)
    if shown:
      page.write([workdir], workdir / page.NAME)
  row = scores.row(record.counts, record.planes, record.num_foreground)
  lr = model.config.optim.lr
  weights = ', '.join(model.weights())
  parts = (
    f'{split} split, {len(source)} images, weights of {weights}',
    tables.describe(report),
    *note,
    tables.baseline(record.counts, record.num_foreground, lr),
    f'written to {path}{shown}',
  )
  return row, '\n'.join(parts)


def choose_thresholds(
  model: trained.Trained, workdir: pathlib.Path
) -> tuple[trained.Trained, str]:
  """Returns the model with thresholds, and a line on them.

  Thresholds that are saved for these weights are taken; otherwise they are
  chosen on val, and saved. Without val they are 1/2.

  Args:
    model: the model, from trained.load.
    workdir: folder of the run, for its evaluation/thresholds.json.

  Raises:
    InputError: if the classes exclude each other.
  """
  planes = thresholds.planes(model.predictor.classes)
  path = thresholds.path(workdir, model.averages())
  saved = thresholds.read(path, model.weights(), planes)
  if not saved:
    histogram, origin = _measure_val(model)
    saved = thresholds.choose(
      histogram, planes, weights=model.weights(), origin=origin
    )
    if parallel.is_first():
      scores.write(saved, path)
  return trained.with_thresholds(model, saved), thresholds.describe(saved)


def _measure_val(model: trained.Trained) -> tuple[np.ndarray, str]:
  """Returns the histogram of val, int64[K, 2, BINS], and a name for it."""
  data_spec = spec.read(model.config)
  names = sources.split_names(data_spec, sources.open_layout(data_spec))
  if 'val' not in names:
    shape = len(model.predictor.classes.planes), 2, curves.BINS
    return np.zeros(shape, np.int64), 'there is no val split to choose on'
  source = _open_split(model, 'val')
  model = _with_window(model, source)
  record = _measure(model, source, with_shapes=False)
  return record.histogram, f'chosen on val, {len(source)} images'


def _with_window(
  model: trained.Trained, source: sources.Examples
) -> trained.Trained:
  """Returns the model with a window; that of a run, or for these images."""
  sides = (max(source[i]['label'].shape[:2]) for i in range(len(source)))
  return trained.with_window(model, sides)


def evaluate_split(
  model: trained.Trained, workdir: pathlib.Path, split: str = ''
) -> tuple[str, str]:
  """Scores a split of a run's own data; see `evaluate`.

  Args:
    model: the model, from `load`.
    workdir: folder of the run.
    split: name of the split; '' is the last one that the data has.

  Returns:
    The name of the split, and the table.
  """
  data_spec = spec.read(model.config)
  if not split:
    opened = sources.open_layout(data_spec)
    split = sources.split_names(data_spec, opened)[-1]
  source = _open_split(model, split)
  _, table = evaluate(model, source, workdir, split, with_shapes=True)
  return split, table


def evaluate_masks(
  model: trained.Trained,
  workdir: pathlib.Path,
  split: str,
  folder: pathlib.Path,
) -> str:
  """Scores a second observer's masks of a split of a run's own data.

  Args:
    model: the model, from `load`; only its config is used.
    workdir: folder of the run, for evaluation/<split>_<folder's name>.json.
    split: name of the split.
    folder: holds the masks; see data.observer.

  Returns:
    A table, as text.
  """
  data_spec = spec.read(model.config)
  source = _open_split(model, split)
  observed = data_observer.open_masks(data_spec, folder, source)
  path = workdir / 'evaluation' / f'{split}_{folder.name}.json'
  table = observer.evaluate(observed, source, model.predictor.classes, path)
  return f'{split} split, masks of {folder}\n{table}'


def _open_split(model: trained.Trained, split: str) -> sources.Source:
  """Opens a split of the data of a model.

  Raises:
    InputError: if there is no such split, or one run has trained on what
      another has held out.
  """
  first, *others = map(splits.load, model.folders)
  source = sources.open_split(spec.read(model.config), split, first)
  for folder, lists in zip(model.folders[1:], others, strict=True):
    trained_on = {*source.keys} & {*lists.get('train', ())}
    if split != 'train' and trained_on:
      raise errors.InputError(
        f'--split {split}: {folder} has trained on '
        f'{finding.some(sorted(trained_on), 3)}; score runs together on images '
        'that all of them held out, such as --split=test'
      )
  return source


def _measure(
  model: trained.Trained, source: sources.Examples, *, with_shapes: bool
) -> records.Record:
  """Measures a split."""
  examples, ahead = itertools.tee(pipeline.eval_examples(source))
  logits = predictor.logits_of(model.predictor, model.variables, ahead)
  return measuring.measure(
    zip(examples, logits, strict=True),
    model.predictor.classes,
    step=model.step,
    with_shapes=with_shapes,
    rule=model.rule,
  )


def _with_groups(
  record: records.Record, data_spec: spec.Spec
) -> tuple[records.Record, list[str]]:
  """Returns the record with its images grouped, as by patient; and notes.

  The split that is scored may lack what groups the images of train and val.
  """
  rule, root = data_spec.split.group, pathlib.Path(data_spec.root)
  try:
    groups = split_drawing.group(record.names, rule, root)
  except errors.InputError as error:
    return record, [f'{error}; until then each image is a group of its own']
  return record._replace(groups=groups), []

"""Cross-validation: a run for each fold, and one report of all runs."""

import json
import pathlib

import ml_collections
import numpy as np

from unet_jax import build, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import labels
from unet_jax.evaluation import (
  curves,
  records,
  scores,
  tables,
  thresholds,
  trained,
)
from unet_jax.training import loop
from unet_jax.training import workdir as workdir_lib

REPORT = 'evaluation/folds.json'


def cross_validate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  num_folds: int,
  *,
  init_from: str = '',
  overwrite: bool = False,
) -> str:
  """Trains a run for each fold, on all other folds, and scores that fold.

  A second call resumes: finished folds are not trained again. The images of the
  test split are not used.

  Args:
    config: config of the runs; data.split.folds and data.split.fold are set
      here.
    workdir: folder for the runs, fold0 and so on, and for the report.
    num_folds: number of folds; the test split is in none of them.
    init_from: folder of another run, for warm starts.
    overwrite: whether to remove the runs that the folders hold.

  Returns:
    The collapses in which runs ended; '' if there is none.

  Raises:
    InputError: if the workdir is itself the folder of a run; and the errors of
      loop.train_and_evaluate.
  """
  if (workdir / workdir_lib.CONFIG).exists():
    raise errors.InputError(
      f'--folds: {workdir} holds a run of its own; name another folder with '
      '--workdir'
    )
  faults = []
  for fold in range(num_folds):
    folder = workdir / f'fold{fold}'
    parallel.say(f'fold {fold} of {num_folds}, in {folder}')
    fold_config = config.copy_and_resolve_references()
    fold_config.data.split.folds, fold_config.data.split.fold = num_folds, fold
    fault = loop.train_and_evaluate(
      fold_config, folder, init_from=init_from, overwrite=overwrite
    )
    faults += [f'fold {fold} {fault}'] if fault else []
  folders = [workdir / f'fold{fold}' for fold in range(num_folds)]
  report = summarise(folders)
  classes = read_classes(folders[0])
  if not classes.exclusive:
    report['variants'] = at_thresholds(folders, classes)
  if parallel.is_first():
    scores.write(report, workdir / REPORT)
  parallel.say(f'{table(report)}\nwritten to {workdir / REPORT}')
  return '; '.join(faults)


def summarise(folders: list[pathlib.Path]) -> dict:
  """Returns the report that folds.json holds, from the report of each fold.

  `pooled` has the scores of all images together, each image predicted by the
  run that did not train on it. `mean` and `std` (with n - 1) are over the folds
  in which a score is defined.
  """
  reports = [
    json.loads((folder / 'evaluation' / 'val.json').read_text())
    for folder in folders
  ]
  classes = read_classes(folders[0])
  counts = np.array(
    [[list(x.values()) for x in r['confusion'].values()] for r in reports],
    np.int64,
  )  # [folds, K, 4]
  rows = [
    scores.row(fold[None], classes.planes, classes.num_foreground)
    for fold in counts
  ]
  values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
  defined = {name: x[np.isfinite(x)] for name, x in values.items()}
  whole = scores.report(counts, classes.planes, classes.num_foreground, step=0)
  return {
    'pooled': whole['pooled'],
    'trivial_f1': whole['trivial_f1'],
    'mean': {k: x.mean() if x.size else np.nan for k, x in defined.items()},
    'std': {
      k: x.std(ddof=1) if x.size > 1 else np.nan for k, x in defined.items()
    },
    'folds': [
      row | {key: report[key] for key in ('num_images', 'checkpoint_step')}
      for row, report in zip(rows, reports, strict=True)
    ],
    'confusion': whole['confusion'],
  }


def read_classes(folder: pathlib.Path) -> labels.ClassSpec:
  """Returns the classes of the run in a folder."""
  config = config_lib.load(folder / workdir_lib.CONFIG)
  return build.make_classes(config, config.data.classes)


def at_thresholds(
  folders: list[pathlib.Path], classes: labels.ClassSpec
) -> dict:
  """Scores all images at thresholds, which are written for later.

  Those of a fold are chosen on the other folds, each as scored by the run that
  held it out. They are written to the fold's evaluation/thresholds.json; and
  those of all folds, for the mean of all runs, to that of the folds' folder.

  Returns:
    `variants` of a report; see summary.summarise.
  """
  splits = [
    records.read(folder / 'evaluation' / 'val.npz') for folder in folders
  ]
  histograms = np.stack([split.histogram for split in splits])
  whole = histograms.sum(axis=0)  # [K, 2, BINS]
  names = [trained.name_step(split.step) for split in splits]
  cells = []
  for folder, name, own in zip(folders, names, histograms, strict=True):
    saved = thresholds.choose(
      whole - own,
      classes.planes,
      weights=[name],
      origin=f'chosen on the other {len(folders) - 1} folds',
    )
    _write(saved, thresholds.path(folder))
    logits = thresholds.logits(saved)
    cells.append([*map(curves.count_at, own, logits)])
  saved = thresholds.choose(
    whole,
    classes.planes,
    weights=[
      f'{folder.name} {name}'
      for folder, name in zip(folders, names, strict=True)
    ],
    origin=f'chosen on the images that each of {len(folders)} folds held out',
  )
  _write(saved, thresholds.path(folders[0].parent, ['ensemble']))
  pooled = np.array(cells).sum(axis=0)
  planes, num_foreground = classes.planes, classes.num_foreground
  return {'at thresholds': scores.pool(pooled, planes, num_foreground)}


def _write(saved: dict, path: pathlib.Path) -> None:
  if parallel.is_first():
    scores.write(saved, path)


def table(report: dict) -> str:
  """Formats a line per fold, mean and standard deviation, and pooled scores."""
  names = [
    name
    for name in report['mean']
    if name == 'macro_f1' or name.startswith('f1_')
  ]
  lines = [('fold', 'images', *names)]
  lines += [
    (f'{i}', f'{row["num_images"]}', *(f'{row[name]:.4f}' for name in names))
    for i, row in enumerate(report['folds'])
  ]
  lines += [
    (statistic, '', *(f'{report[statistic][name]:.4f}' for name in names))
    for statistic in ('mean', 'std')
  ]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  text = '\n'.join(
    '  '.join(cell.rjust(width) for cell, width in zip(x, widths, strict=True))
    for x in lines
  )
  return (
    f'{text}\nall images, each scored by the run that did not train on it, '
    f'with its last averaged weights:\n{tables.table(report)}'
  )

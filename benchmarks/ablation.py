"""Measures the gain of augmentation and of crops about classes, by folds.

  python benchmarks/ablation.py --steps 300 --image_size 128

Each seed holds back another fold of the training images and trains on the
others. The table has mean and standard deviation of the macro F1 on the fold
held back, and the mean difference, with its standard error, from the run of the
same seed with neither. The test images are never read. Results are kept in
FOLDER/results.jsonl, and runs with a result there are not repeated.
"""

import argparse
import itertools
import json
import pathlib
import runpy

import jax
import numpy as np
import trainer

from unet_jax import build
from unet_jax.nn import augment
from unet_jax.training import loop, workdir

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
SETS = {'diaretdb1': 'multiclass.py', 'stare': 'binary.py'}
NO_CHANGE = augment.Ranges()._asdict()
NO_COLOUR = {key: NO_CHANGE[key] for key in ('brightness', 'contrast')}
# Name -> changes of config.augment, and data.foreground_share.
SETTINGS = {
  'neither': (NO_CHANGE, 0.0),
  'geometry': (NO_COLOUR, 0.0),
  'geometry and colours': ({}, 0.0),
  'crops about classes': (NO_CHANGE, 0.5),
  'all': ({}, 0.5),
}


def main() -> None:
  """Trains the runs that have no result, and prints the table as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--steps', type=int, required=True)
  parser.add_argument('--image_size', type=int, help="default: the config's")
  parser.add_argument('--sets', nargs='*', default=list(SETS))
  parser.add_argument('--folds', type=int, default=3)
  parser.add_argument('--seeds', type=int, default=3)
  parser.add_argument('--folder', type=pathlib.Path, default='runs/ablation')
  args = parser.parse_args()
  build.start()
  args.folder.mkdir(parents=True, exist_ok=True)
  path = args.folder / 'results.jsonl'
  path.touch()
  sizes = dict(steps=args.steps, image_size=args.image_size, folds=args.folds)
  # The seed is the outer loop, so that a table of fewer seeds is ready early.
  for seed, name, setting in itertools.product(
    range(args.seeds), args.sets, SETTINGS
  ):
    run = dict(set=name, setting=setting, seed=seed, **sizes)
    if run not in [row['run'] for row in read(path)]:
      score = train(run, args.folder.absolute())
      with path.open('a') as file:
        file.write(json.dumps(dict(run=run, macro_f1=score)) + '\n')
  rows = [row for row in read(path) if row['run'].items() >= sizes.items()]
  print(table(rows, args.sets))


def read(path: pathlib.Path) -> list[dict]:
  """Reads JSON lines, such as the results of earlier runs."""
  return [json.loads(line) for line in path.read_text().splitlines()]


def train(run: dict, folder: pathlib.Path) -> float:
  """Trains on all folds but one; returns the macro F1 on the fold held back."""
  print(f'\n{run}', flush=True)
  get_config = runpy.run_path(str(CONFIGS / SETS[run['set']]))['get_config']
  config = get_config(run['set'])
  config.data.split.folds = run['folds']
  config.data.split.fold = run['seed'] % run['folds']
  config.seed = run['seed']
  config.total_steps = config.eval_every = config.save_every = run['steps']
  config.image_size = run['image_size'] or config.image_size
  changes, config.data.foreground_share = SETTINGS[run['setting']]
  config.augment.update(changes)
  run_folder = folder / 'run'
  loop.train_and_evaluate(config, run_folder, overwrite=run_folder.exists())
  jax.clear_caches()  # Frees the run's compiled steps.
  rows = read(run_folder / workdir.METRICS)
  return [row for row in rows if row['split'] == 'val'][-1]['macro_f1']


def table(rows: list[dict], sets: list[str]) -> str:
  """Formats mean and deviation, and the mean difference from `neither`."""
  cells = []
  for setting in SETTINGS:
    cells.append([setting])
    for name in sets:
      scores, baselines = (
        {
          row['run']['seed']: row['macro_f1']
          for row in rows
          if (row['run']['set'], row['run']['setting']) == (name, key)
        }
        for key in (setting, 'neither')
      )
      values = np.array(list(scores.values()))
      cell = f'{values.mean():.3f} ± {values.std(ddof=1):.3f}'
      if setting != 'neither':
        gains = np.array([scores[seed] - baselines[seed] for seed in scores])
        error = gains.std(ddof=1) / len(gains) ** 0.5
        cell += f' ({gains.mean():+.3f} ± {error:.3f})'
      cells[-1].append(cell)
  return trainer.table(['', *sets], cells)


if __name__ == '__main__':
  main()

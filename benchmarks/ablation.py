"""What augmentation and crops about classes are worth, by cross-validation.

  python benchmarks/ablation.py --steps 300 --image_size 128

Trains on the training images but for a fold, another one for each seed, and
prints mean and standard deviation of the macro F1 on the images held back, and
how far it is from that of neither, run by run. The test images are never read.
Results are kept in FOLDER/results.jsonl, and a run that is there isn't
repeated.
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
STILL = augment.Ranges()._asdict()
COLOURLESS = {key: STILL[key] for key in ('brightness', 'contrast')}
# Name -> what differs in config.augment, and data.foreground_share.
SETTINGS = {
  'neither': (STILL, 0.0),
  'geometry': (COLOURLESS, 0.0),
  'geometry and colours': ({}, 0.0),
  'crops about classes': (STILL, 0.5),
  'all': ({}, 0.5),
}


def main() -> None:
  """Trains what hasn't been, and prints the table as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--steps', type=int, required=True)
  parser.add_argument('--image_size', type=int, help="else the config's")
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
  # Seed by seed, so that a table can be read before the last has run.
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
  """Trains on all folds but one; returns the macro F1 on that one."""
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
  where = folder / 'run'
  loop.train_and_evaluate(config, where, overwrite=where.exists())
  jax.clear_caches()  # Else it keeps every run's compiled steps.
  scores = [
    row for row in read(where / workdir.METRICS) if row['split'] == 'val'
  ]
  return scores[-1]['macro_f1']


def table(rows: list[dict], sets: list[str]) -> str:
  """Lays out mean and deviation, and the mean difference from `neither`."""
  cells = []
  for setting in SETTINGS:
    cells.append([setting])
    for name in sets:
      scores, bases = (
        {
          row['run']['seed']: row['macro_f1']
          for row in rows
          if (row['run']['set'], row['run']['setting']) == (name, kind)
        }
        for kind in (setting, 'neither')
      )
      found = np.array(list(scores.values()))
      cell = f'{found.mean():.3f} ± {found.std(ddof=1):.3f}'
      if setting != 'neither':
        gains = np.array([scores[key] - bases[key] for key in scores])
        error = gains.std(ddof=1) / len(gains) ** 0.5
        cell += f' ({gains.mean():+.3f} ± {error:.3f})'
      cells[-1].append(cell)
  return trainer.table(['', *sets], cells)


if __name__ == '__main__':
  main()

"""Writes docs/guide.md, with its figures and every number: python docs/guide.py

Trains ten small runs on the drawings, in 10 minutes of CPU time; runs that are
finished are not repeated. With STARE and DIARETDB1, which are not part of this
project, the same takes about an hour on 2 cores, and writes elsewhere:

  UNET_JAX_DATA=FOLDER python docs/guide.py --real --output my_guide
"""

import argparse
import contextlib
import io
import os
import pathlib
from typing import Any

import guide_data
import guide_figures
import guide_runs
import guide_scores
import guide_sets
import jinja2
import numpy as np
from absl import logging
from PIL import Image

from unet_jax import show
from unet_jax.doctor import __main__ as doctor
from unet_jax.evaluation import tables

DOCS = pathlib.Path(__file__).parent
STEPS = 200  # Of a long run on drawings; the presets have those of the others.


def capture(function, *args: str) -> str:
  """Calls a door; returns what it prints."""
  text = io.StringIO()
  with contextlib.redirect_stdout(text):
    function.main(args)
  return text.getvalue()


def findings(printed: str) -> dict[str, str]:
  """Returns {title: lines} of what the doctor printed, without the files."""
  by_title, title = {}, ''
  for line in printed.splitlines():
    severity, _, rest = line.partition(' ')
    if severity in ('error', 'warning', 'note'):
      title = rest.partition(':')[0]
      before = f'{by_title[title]}\n' if title in by_title else ''
      by_title[title] = before + line
    elif title and line.startswith('  mend:'):
      by_title[title] += f'\n{line}'
  return by_title


def look_at_data(
  runs: guide_runs.Runs, pictures: pathlib.Path
) -> dict[str, Any]:
  """Returns the facts of section 1, and draws its figures."""
  sets = runs.sets
  images = guide_data.read(sets, 'train')
  levels = (1, 2, 4)
  greys = tuple(guide_sets.LEVEL * x for x in levels)
  example = guide_data.most_disputed(images)
  guide_figures.thresholds(
    example.image, example.union(), greys, pictures / 'thresholds.png'
  )
  guide_figures.planes(
    example.image, example.classes(sets.level), pictures / 'planes.png'
  )
  merged = capture(doctor, '--config', *sets.lesions)
  shifted = capture(doctor, '--config', *sets.lesions, *sets.shifted)
  truth = np.stack([x.classes(sets.level) for x in images[:4]])
  one_hot = np.stack(
    [~truth.any(-1), truth[..., 0] & ~truth[..., 1], truth[..., 1]], axis=-1
  )
  return {
    'cuts': guide_data.cuts(images, greys),
    'name': example.name,
    'tables': merged.partition('\nval:')[0].strip(),
    'doctor': findings(merged),
    'shift': findings(shifted),
    'losses': guide_scores.of_predictions(one_hot),
  }


def train_all(runs: guide_runs.Runs, pictures: pathlib.Path) -> dict[str, Any]:
  """Returns the facts of sections 2 and 3, and draws their figures."""
  for task in ('vessels', 'lesions'):
    for depth in '34':
      runs.train(f'{task}-{depth}')
  runs.train(guide_runs.WARM)
  runs.train('lesions-mended')
  errors = {name: runs.train(name) for name in guide_runs.FAULTS}
  networks = {}
  for depth in '34':
    path = pictures / f'depth{depth}.svg'
    path.parent.mkdir(parents=True, exist_ok=True)
    args = runs.arguments(f'lesions-{depth}')
    text = capture(show, *args, '--svg', str(path))
    networks[depth] = next(
      x.split()[1] for x in text.splitlines() if x.startswith('all ')
    )
  guide_figures.curves(
    'Macro F1 of val, by task and depth',
    'F1',
    {
      f'{task}, depth {depth}': runs.series(
        f'{task}-{depth}', 'val', 'macro_f1'
      )
      for task in ('vessels', 'lesions')
      for depth in '34'
    },
    pictures / 'depths.svg',
  )
  guide_figures.curves(
    'Training loss, by learning rate',
    'loss',
    {
      'too low': runs.series('low', 'train', 'loss'),
      'as it is by default': runs.series(
        'lesions-4', 'train', 'loss', guide_runs.FAULT_STEPS
      ),
      'too high': runs.series('high', 'train', 'loss'),
    },
    pictures / 'rates.svg',
  )
  guide_figures.curves(
    'Macro F1 of lesions in val, by start',
    'F1',
    {
      'cold': runs.series('lesions-4', 'val', 'macro_f1'),
      'from vessels': runs.series('lesions-warm', 'val', 'macro_f1'),
    },
    pictures / 'warm.svg',
  )
  quotes = {
    'low': runs.said('low', 'hardly move'),
    'high': runs.said('high', 'collapse: in'),
    'collapse': runs.said('collapse', 'collapse: in'),
    'remedy': runs.said('collapse', 'the foreground is rare'),
    'nan': runs.said('nan', 'skipped'),
  }
  return {'errors': errors, 'parameters': networks, 'quotes': quotes}


def read_outcome(
  runs: guide_runs.Runs, pictures: pathlib.Path
) -> dict[str, Any]:
  """Returns the facts of section 3, and draws the images by rank."""
  report = runs.report('lesions-4')
  by_rank: dict[str, tuple[str, str]] = {}
  for path, title in report['pictures'].items():
    by_rank.setdefault(title.partition(':')[0], (path, title))
  folder = runs.folder / 'lesions-4/evaluation'
  guide_figures.ranks(
    [np.asarray(Image.open(folder / path)) for path, _ in by_rank.values()],
    pictures / 'ranks.png',
  )
  per_class = report['pooled']['per_class']
  worst = min(list(per_class)[1:], key=lambda name: per_class[name]['f1'])
  plan = (runs.folder / 'lesions-warm/init_from.txt').read_text().splitlines()
  return {
    'table': tables.table(report),
    'ranks': [title for _, title in by_rank.values()],
    'worst': {
      'name': worst,
      'nowhere': report['trivial_accuracy']['nowhere'][worst],
      **per_class[worst],
    },
    'additive': report['additive_dice'],
    'means': guide_scores.of_examples(),
    'plan': {
      'copied': sum(line.endswith(': copied') for line in plan),
      'others': '\n'.join(x for x in plan if not x.endswith(': copied')),
    },
    'f1': {
      name: runs.report(name)['pooled']['macro']['f1']
      for name in ('vessels-3', 'vessels-4', 'lesions-3', 'lesions-4')
    }
    | {
      'collapse': runs.report('collapse')['pooled'],
      'mended': runs.report('lesions-mended')['pooled'],
    },
  }


def write(output: pathlib.Path, runs: guide_runs.Runs) -> None:
  """Writes guide.md and its figures into a folder."""
  pictures = output / 'guide'
  facts = look_at_data(runs, pictures)
  facts |= train_all(runs, pictures) | read_outcome(runs, pictures)
  loader = jinja2.FileSystemLoader(DOCS)
  page = jinja2.Environment(
    loader=loader,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
  ).get_template('guide.md.jinja')
  text = page.render(
    facts,
    runs=runs,
    sets=runs.sets,
    command=guide_runs.command,
    quote=guide_runs.quote,
    mended=guide_runs.MENDED,
  )
  (output / 'guide.md').write_text(text)
  print(f'written to {output}/guide.md')


def main() -> None:
  """Writes the guide as the arguments say."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--real', action='store_true', help='STARE, DIARETDB1')
  parser.add_argument('--output', type=pathlib.Path, default=DOCS)
  parser.add_argument('--runs', type=pathlib.Path, help='folder of the runs')
  parser.add_argument('--steps', type=int, default=0, help='of long runs')
  args = parser.parse_args()
  logging.set_verbosity(logging.ERROR)
  if args.real:
    folder = args.runs or pathlib.Path('runs/guide-real')
    sets, steps = guide_sets.real(pathlib.Path(os.environ['UNET_JAX_DATA'])), 0
  else:
    folder = args.runs or pathlib.Path('runs/guide')
    sets, steps = guide_sets.drawn(folder / 'drawings'), STEPS
  write(args.output, guide_runs.Runs(folder, sets, args.steps or steps))


if __name__ == '__main__':
  main()

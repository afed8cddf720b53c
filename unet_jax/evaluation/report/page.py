"""One HTML page of one or several runs, which needs no other file."""

import base64
import io
import pathlib
from collections.abc import Sequence

import jinja2
import markupsafe
import numpy as np
from PIL import Image

from unet_jax import errors, text_files
from unet_jax.evaluation import (
  bootstrap,
  objects,
  pictures,
  records,
  summary,
  tables,
)
from unet_jax.evaluation.report import advice, figures
from unet_jax.evaluation.report import run as run_lib

COLUMNS = {
  'f1': 'F1',
  'iou': 'IoU',
  'precision': 'precision',
  'recall': 'recall',
  'specificity': 'specificity',
  'accuracy': 'accuracy',
  'balanced_accuracy': 'balanced acc.',
}
NAME = 'report.html'  # In the folder of a run.
PARTS = ('input', 'truth', 'prediction', 'errors')
FACTS = {
  'task': 'task',
  'classes': 'data.classes',
  'data': 'data.root',
  'network': 'model.name',
  'depth': 'model.depth',
  'width': 'model.width',
  'crops, pixels': 'image_size',
  'batch': 'batch_size',
  'steps': 'total_steps',
  'learning rate': 'optim.lr',
  'seed': 'seed',
}


def write(folders: Sequence[pathlib.Path], output: pathlib.Path) -> None:
  """Writes the page of `make` for the runs in these folders.

  Raises:
    InputError: if a folder holds no scored run, or one whose files are damaged,
      or the page cannot be written.
  """
  runs = [run_lib.read(folder) for folder in folders]
  try:
    text = make(runs)
  except (
    *(AttributeError, LookupError, TypeError, ValueError),
    jinja2.UndefinedError,
  ) as error:
    raise errors.InputError(
      f'the scores of {" or ".join(run.name for run in runs)} cannot be shown '
      f'({error!r}); write them anew with '
      'python -m unet_jax.evaluate --workdir RUN --split SPLIT'
    ) from error
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
    text_files.write_text(output, text)
  except OSError as error:
    raise errors.InputError(
      f'--output: {output} cannot be written ({error.strerror or error})'
    ) from None


def make(runs: Sequence[run_lib.Run]) -> str:
  """Returns the page.

  Args:
    runs: one run; or several, which are compared with the first.
  """
  folder = pathlib.Path(__file__).parent
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(folder),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template('page.html').render(
    title=' and '.join(run.name for run in runs),
    style=markupsafe.Markup((folder / 'style.css').read_text()),
    runs=[_describe(run) for run in runs],
    columns=COLUMNS,
    rates=[f'{rate:g}' for rate in objects.RATES],
    differences=_compare(runs),
    figures=[markupsafe.Markup(figure) for figure in figures.draw(runs)],
  )


def _describe(run: run_lib.Run) -> dict:
  """Returns what the template says of one run."""
  facts = [(name, _text(run.config[key])) for name, key in FACTS.items()]
  first = run.splits[0].report
  facts += list(first.get('environment', {}).items())
  speeds = [
    row['images_per_second'] for row in run.rows if row.get('images_per_second')
  ]
  if speeds:
    facts.append(('images per second', f'{np.median(speeds):.4g}'))
  classes = run.config['data.classes']
  colors = [
    'rgb({:.0f}, {:.0f}, {:.0f})'.format(*color)
    for color in np.resize(pictures.COLORS, (len(classes), 3))
  ]
  return {
    'name': run.name,
    'verdict': advice.verdict(run),
    'advice': advice.advise(run),
    'facts': facts,
    'splits': [
      {
        'name': split.name,
        'report': split.report,
        'matrix': _matrix(split.report),
        'caution': _caution(split.report),
      }
      for split in run.splits
    ],
    'colors': list(zip(classes, colors, strict=True)),
    'sheet': _sheet(run.sheet),
    'pictures': [_picture(*entry) for entry in run.pictures],
  }


def _text(value) -> str:
  return ', '.join(value) if isinstance(value, tuple | list) else str(value)


def _caution(report: dict) -> str:
  text = tables.caution(report) if 'trivial_accuracy' in report else ''
  return f'{text[:1].upper()}{text[1:]}'


def _matrix(report: dict) -> dict | None:
  """Returns the confusion matrix and its shares of each row."""
  if 'matrix' not in report:
    return None
  names, rows = list(report['confusion']), report['matrix']
  return {
    'names': names,
    'rows': [
      {'name': name, 'cells': [(x / max(1, sum(row)), x) for x in row]}
      for name, row in zip(names, rows, strict=True)
    ],
  }


def _sheet(path: pathlib.Path) -> str:
  """Embeds a sheet of panels as a JPEG; '' if there is none."""
  if not path.exists():
    return ''
  with Image.open(path) as image, io.BytesIO() as file:
    image.save(file, 'JPEG')
    return _url(file.getvalue())


def _url(content: bytes) -> str:
  return f'data:image/jpeg;base64,{base64.b64encode(content).decode()}'


def _picture(title: str, path: pathlib.Path) -> dict:
  """Embeds a panel; its parts are shown as pieces of one picture."""
  with Image.open(path) as image:
    width, height = image.size
  part = (width - 3 * pictures.GAP) / len(PARTS)
  places = [i * (part + pictures.GAP) for i in range(len(PARTS))]
  return {
    'title': title,
    'url': _url(path.read_bytes()),
    'ratio': f'{part:.2f}/{height}',
    'size': f'{100 * width / part:.3f}',
    'parts': [
      (name, f'{100 * place / (width - part):.3f}')
      for name, place in zip(PARTS, places, strict=True)
    ],
  }


def _compare(runs: Sequence[run_lib.Run]) -> dict | None:
  """Compares each run with the first, on the same images.

  Raises:
    InputError: if the runs were not scored on the same images and classes.
  """
  if len(runs) < 2:
    return None
  first, *others = (_record(run) for run in runs)
  names = summary.statistic_names(first)
  before = summary.statistics(first, first.counts.sum(axis=0))
  rows = []
  for run, record in zip(runs[1:], others, strict=True):
    for field in ('names', 'planes'):
      if list(getattr(first, field)) != list(getattr(record, field)):
        what = {'names': 'images', 'planes': 'classes'}[field]
        raise errors.InputError(
          f'{runs[0].name} and {run.name} are scored on different {what}; '
          'compare runs of the same data and split'
        )
    bounds = bootstrap.differences(
      (first.counts, record.counts),
      lambda counts: summary.statistics(first, counts),
      first.groups,
    )
    after = summary.statistics(record, record.counts.sum(axis=0))
    rows.append(
      {
        'name': run.name,
        'cells': list(zip(after - before, *bounds.T, strict=True)),
      }
    )
  is_grouped = len(set(first.groups)) < len(first.names)
  over = 'groups of images' if is_grouped else 'images'
  return {'names': names, 'rows': rows, 'over': over}


def _record(run: run_lib.Run) -> records.Record:
  record = run.splits[0].record
  if record is None:
    raise errors.InputError(
      f'{run.name}: its evaluation is of an earlier version; run '
      'unet_jax.evaluate again, before it is compared'
    )
  return record

"""One HTML page of one or several runs, which needs no other file."""

import io
import pathlib
import shlex
from collections.abc import Sequence

import jinja2
import markupsafe
import numpy as np
from PIL import Image

from unet_jax import errors, text_files
from unet_jax.data.checks import finding
from unet_jax.evaluation import objects, pictures, tables
from unet_jax.evaluation.report import advice, differences, figures, journal
from unet_jax.evaluation.report import run as run_lib
from unet_jax.pages import render

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
EVALUATED = {'software': 'evaluated with', 'devices': 'evaluated on'}
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
  title = ' and '.join(run.name for run in runs)
  return render.page(
    pathlib.Path(__file__).with_name('page.html'),
    title,
    runs=[_describe(run) for run in runs],
    columns=COLUMNS,
    rates=[f'{rate:g}' for rate in objects.RATES],
    settings=differences.settings(runs),
    differences=differences.scores(runs),
    figures=[markupsafe.Markup(figure) for figure in figures.draw(runs)],
  )


def _describe(run: run_lib.Run) -> dict:
  """Returns what the template says of one run."""
  facts = [(name, _text(run.config[key])) for name, key in FACTS.items()]
  facts += journal.facts(run.journal)
  environment = run.splits[0].report.get('environment', {})
  facts += [(EVALUATED[key], text) for key, text in environment.items()]
  speeds = [
    row['images_per_second'] for row in run.rows if row.get('images_per_second')
  ]
  if speeds:
    facts.append(('images per second', f'{np.median(speeds):.4g}'))
  classes = run.config['data.classes']
  names = [*classes, 'false positive', 'false negative']
  names += ['wrong class'] if len(classes) > 1 else []
  own = np.resize(pictures.COLORS, (len(classes), 3))
  palette = np.concatenate([own, pictures.ERRORS])
  return {
    'name': run.name,
    'verdict': advice.verdict(run),
    'advice': advice.advise(run),
    'facts': facts,
    **_findings(run),
    'splits': [
      {
        'name': split.name,
        'report': split.report,
        'matrix': _matrix(split.report),
        'caution': _caution(split.report),
      }
      for split in run.splits
    ],
    'colors': render.colors(names, palette),
    'sheet': _sheet(run.sheet),
    'pictures': [_picture(*entry) for entry in run.pictures],
  }


def _findings(run: run_lib.Run) -> dict:
  """Returns what the run and the doctor say, and how to ask the doctor.

  The doctor makes the checks of a run, and more.
  """
  known = run.findings
  said = journal.findings(run.journal, with_notes=known is None)
  remarks = []
  if not run.journal:
    remarks.append('The run is of an earlier version, and kept no warnings.')
  elif not said:
    remarks.append('The run reported nothing.')
  if known is None:
    remarks.append('The doctor checks more; its findings then stand here:')
  elif not known:
    remarks.append('The doctor found nothing.')
  folder = shlex.quote(run.name)
  ask = (
    f'python -m unet_jax.doctor --config {folder}/{run_lib.CONFIG} '
    f'--json {folder}/{run_lib.DOCTOR}; python -m unet_jax.report {folder}'
  )
  return {
    'findings': sorted([*(known or ()), *said], key=_severity),
    'remark': ' '.join(remarks),
    'doctor': ask if known is None else '',
  }


def _severity(row: dict) -> int:
  return finding.SEVERITIES.index(row['severity'])


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
    return render.jpeg(file.getvalue())


def _picture(title: str, path: pathlib.Path) -> dict:
  """Embeds a panel; its parts are shown as pieces of one picture."""
  with Image.open(path) as image:
    width, height = image.size
  part = (width - 3 * pictures.GAP) / len(PARTS)
  places = [i * (part + pictures.GAP) for i in range(len(PARTS))]
  return {
    'title': title,
    'url': render.jpeg(path.read_bytes()),
    'ratio': f'{part:.2f}/{height}',
    'size': f'{100 * width / part:.3f}',
    'parts': [
      (name, f'{100 * place / (width - part):.3f}')
      for name, place in zip(PARTS, places, strict=True)
    ],
  }

"""Predicts new images: writes the files of each, and a table of all."""

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import console, progress

from unet_jax import errors, parallel, peers
from unet_jax.data import folder, image_files, image_kinds
from unet_jax.evaluation import (
  prediction_table,
  raster_files,
  segment,
  trained,
)

TABLE = 'predictions.csv'
# Process N writes its rows here, until process 0 adds them to the table.
PART = 'predictions.{}.part'


class Outcome(NamedTuple):
  """What became of the images."""

  num_written: int
  num_kept: int  # Those whose files and rows in the table were up to date.
  failures: list[str]  # A line for each image that could not be predicted.


def find_images(inputs: Sequence[str]) -> list[pathlib.Path]:
  """Lists the images among files and folders; their stems must differ.

  Raises:
    InputError: for a path that doesn't exist, or a stem that occurs twice.
  """
  by_name: dict[str, pathlib.Path] = {}
  for text in inputs:
    path = pathlib.Path(text)
    paths = folder.find_images(path) if path.is_dir() else [path]
    for image in paths:
      if not image.exists():
        raise errors.InputError(f'--input {image}: no such file or folder')
      if image.stem in by_name:
        raise errors.InputError(
          f'--input: {by_name[image.stem]} and {image} would both be written '
          f'as {image.stem}.png; predict them one by one'
        )
      by_name[image.stem] = image
  return list(by_name.values())


def write(
  model: trained.Trained,
  paths: Sequence[pathlib.Path],
  output: pathlib.Path,
  options: segment.Options,
) -> Outcome:
  """Writes the files of each image, see `segment`, and predictions.csv.

  Each process of several takes its share of the images.

  An image stays as it is if its rows in the table were made from the same file
  by the same weights and options, and its files exist.

  Raises:
    InputError: before anything is written, if a file would overwrite an input
      or another file, or if the processes differ in images, weights or options;
      and if a file can't be written. An image that can't be read is a failure,
      and stops no other.
  """
  classes = model.predictor.classes
  paths = image_kinds.first_files(paths, model.kind)
  targets = {
    path: segment.targets(path, output, classes, options, model.kind)
    for path in paths
  }
  check_targets(targets)
  resize = model.config.data.resize
  sizes = [image_kinds.size(path) for path in paths]
  sides = [resize] if resize else [max(size) for size in sizes]
  model = trained.with_window(model, sides)
  weights = prediction_table.name_weights(model)
  origins = {
    path: prediction_table.origin(
      image_kinds.files_of(path, model.kind), weights, options.describe(model)
    )
    for path in paths
  }
  table = _read_tables(output)
  names = classes.planes[-classes.num_foreground :]
  todo = [
    path
    for path in paths
    if not prediction_table.agrees(
      table.get(path.stem, ()), names, origins[path]
    )
    or not all(target.exists() for target in targets[path].values())
  ]
  for path in todo:
    table.pop(path.stem, None)
  kept = [row for rows in table.values() for row in rows]
  _begin(output, kept, {path.name: origins[path] for path in todo})
  mine = todo[peers.index() :: peers.count()]
  # A dark frame is read if it is not the only kind that there is.
  may_be_dark = folder.once(functools.partial(image_files.has_bright, paths))
  failures = []
  with _progress(len(mine)) as report:
    for i, path in enumerate(mine):
      share = functools.partial(report, i, path.name)
      try:
        measured = segment.write(
          *(model, path, targets[path], options, share),
          may_be_dark=may_be_dark,
        )
      except raster_files.NotWrittenError:
        raise
      except errors.InputError as error:
        failures.append(str(error))
        continue
      rows = prediction_table.rows(path, names, measured, origins[path])
      prediction_table.append(_own_table(output), rows)
  failures = _end(output, failures)
  num_written = len(todo) - len(failures)
  return Outcome(num_written, len(paths) - len(todo), failures)


def _own_table(output: pathlib.Path) -> pathlib.Path:
  """Returns the table to which this process adds rows."""
  name = TABLE if parallel.is_first() else PART.format(peers.index())
  return output / name


def _parts(output: pathlib.Path) -> list[pathlib.Path]:
  return sorted(output.glob(PART.format('[0-9]*')))


def _read_tables(output: pathlib.Path) -> dict[str, list[prediction_table.Row]]:
  """Reads the table, with the parts that an interrupted command has left."""
  table = prediction_table.read(output / TABLE)
  for path in _parts(output):
    table |= prediction_table.read(path)
  return table


def _begin(
  output: pathlib.Path,
  kept: Sequence[prediction_table.Row],
  plan: Mapping[str, prediction_table.Row],
) -> None:
  """Writes the rows that stay, once all processes have read the old ones.

  Raises:
    InputError: unless all processes plan to predict the same.
  """
  digest = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
  for i, other in enumerate(peers.exchange('planned', digest)):
    if other != digest:
      raise errors.InputError(
        f'process {i} has not the images, weights or options of process '
        f'{peers.index()}; give all processes the same flags and files'
      )
  if parallel.is_first():
    prediction_table.write(output / TABLE, kept)
    for path in _parts(output):
      path.unlink()
  peers.exchange('begun', '')
  if not parallel.is_first():
    prediction_table.write(_own_table(output), ())


def _end(output: pathlib.Path, failures: Sequence[str]) -> list[str]:
  """Joins the tables of all processes; returns the failures of all."""
  texts = peers.exchange('predicted', json.dumps(failures))
  if parallel.is_first():
    for path in _parts(output):
      for rows in prediction_table.read(path).values():
        prediction_table.append(output / TABLE, rows)
      path.unlink()
  return [failure for text in texts for failure in json.loads(text)]


def check_targets(
  targets: Mapping[pathlib.Path, segment.Targets],
) -> None:
  """Refuses files that would overwrite an input or one another.

  Args:
    targets: the files of each image.
  """
  taken = {path.resolve() for path in targets}
  for files_of_image in targets.values():
    for target in files_of_image.values():
      if target.resolve() in taken:
        raise errors.InputError(
          f'--output: {target} is an input, or the file of another image; name '
          'an empty folder, and images whose names differ by more than _overlay'
        )
      taken.add(target.resolve())


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int, str, float], None]]:
  """Shows a bar on a terminal.

  Yields:
    A function of the number of images that are done, the name of the next one,
    and the share of it that is done.
  """
  screen = console.Console(stderr=True)
  with progress.Progress(
    progress.TextColumn('{task.completed:.0f}/{task.total:.0f} images'),
    progress.BarColumn(),
    progress.TimeRemainingColumn(),
    progress.TextColumn('{task.description}'),
    console=screen,
    transient=True,
    disable=not (screen.is_terminal and parallel.is_first()),
  ) as bar:
    task = bar.add_task('', total=total)
    yield lambda done, name, share: bar.update(
      task, completed=done + share, description=name
    )

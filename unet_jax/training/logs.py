"""Logs a run: JSON lines, a table, TensorBoard, and a line on the terminal."""

import contextlib
import csv
import io
import json
import math
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from rich import console, progress
from tensorboardX import summary

from unet_jax import parallel, text_files
from unet_jax.training import board, journal
from unet_jax.training import workdir as workdir_lib

# Metrics that differ between runs with equal seeds: images per second, and the
# share of the time that is spent waiting for data.
TIMES = ('images_per_second', 'data_wait')


def say(workdir: pathlib.Path, text: str) -> None:
  """Prints text, and adds it to train.log, on the first process only."""
  parallel.say(text)
  record(workdir, text)


def record(workdir: pathlib.Path, text: str) -> None:
  """Adds text to train.log on the first process; a full disk stops nothing."""
  if parallel.is_first():
    with (
      contextlib.suppress(OSError),
      (workdir / workdir_lib.TEXT).open('a') as file,
    ):
      file.write(f'{text}\n')


class Log:
  """Writes metrics, pictures and messages; only the first process writes."""

  def __init__(self, workdir: pathlib.Path, *, step: int, total_steps: int):
    """Opens the logs, and removes the rows of steps after `step`."""
    self._live = None
    self._workdir = workdir
    if not parallel.is_first():
      return
    self._path = workdir / workdir_lib.METRICS
    drop_after(self._path, step)
    self._unwritten: set[str] = set()  # Names of files that were reported.
    self._rows = board.Appender(self._path)
    self._board = board.Board(workdir, step)
    screen = console.Console()
    if screen.is_terminal:
      self._live = progress.Progress(
        progress.TextColumn('step {task.completed}/{task.total}'),
        progress.BarColumn(),
        progress.TextColumn('{task.description}'),
        progress.TimeRemainingColumn(),
        console=screen,
        transient=True,
      )
      self._bar = self._live.add_task('', total=total_steps, completed=step)
      self._live.start()

  def write(self, step: int, split: str, scores: dict[str, float]) -> None:
    """Adds a row; a score that isn't finite is written as null."""
    if not parallel.is_first():
      return
    row = {
      name: float(value) if math.isfinite(value) else None
      for name, value in scores.items()
    }
    line = json.dumps({'step': step, 'split': split, **row}) + '\n'
    self._report(step, self._rows, self._rows.write(line.encode()))
    for name, value in scores.items():
      self._add(step, summary.scalar(f'{split}/{name}', value))
    if split != 'train':  # Else the table would be written every few steps.
      self._write_table()
    if 'loss' in row:  # The scores of the end have a table of their own.
      self._print_row(step, split, row)

  def picture(self, step: int, tag: str, image: np.ndarray) -> None:
    """Adds a picture, uint8[H, W, 3], to TensorBoard."""
    if parallel.is_first():
      self._add(step, summary.image(tag, image, dataformats='HWC'))

  def histograms(self, step: int, params: Mapping[str, Any]) -> None:
    """Adds a histogram of each array of weights to TensorBoard.

    Skips an array that isn't finite, or that NumPy can't divide into bins.
    """
    if not parallel.is_first():
      return
    flat = traverse_util.flatten_dict(jax.device_get(params), sep='/')
    for name, values in flat.items():
      if np.isfinite(values).all():
        # NumPy raises if all values are one number near 1e14 or above, as after
        # divergence: float64 is too coarse for bins around that number.
        with contextlib.suppress(ValueError):
          # TensorBoard's default bins end at 1e20.
          self._add(step, summary.histogram(f'weights/{name}', values, bins=64))

  def close(self) -> None:
    """Removes the live line, closes the files, and writes the table."""
    if self._live:
      self._live.stop()
    if parallel.is_first():
      self._rows.close()
      self._board.file.close()
      self._write_table()

  def __enter__(self) -> 'Log':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def say(self, step: int, text: str) -> None:
    """Prints a message, above the live line if there is one."""
    if parallel.is_first():
      text = f'step {step}  {text}'
      record(self._workdir, text)
      if self._live:
        self._live.console.print(text, soft_wrap=True, highlight=False)
      else:
        print(text, flush=True)

  def warn(self, step: int, text: str) -> None:
    """Prints a warning of one or more lines, and adds it to the journal."""
    for line in text.splitlines():
      self.say(step, line)
    journal.add(self._workdir, 'warning', step, text)

  def _add(self, step: int, event: summary.Summary) -> None:
    self._report(step, self._board.file, self._board.add(step, event))

  def _write_table(self) -> None:
    try:
      write_table(self._path)
    except OSError as error:
      if workdir_lib.TABLE not in self._unwritten:
        self._unwritten.add(workdir_lib.TABLE)
        parallel.say(f'{workdir_lib.TABLE} cannot be written ({error})')

  def _report(self, step: int, file: board.Appender, why: str) -> None:
    """Says once of each file that it cannot be written; training goes on."""
    if why and file.path.name not in self._unwritten:
      self._unwritten.add(file.path.name)
      self.warn(
        step,
        f'{file.path} cannot be written ({why}): its last entries are kept '
        'in memory, and training goes on',
      )

  def _print_row(self, step: int, split: str, row: dict) -> None:
    if 'macro_f1' in row:
      f1s = [
        f'{name.removeprefix("f1_")} {_number(value)}'
        for name, value in row.items()
        if name.startswith('f1_')
      ]
      self.say(
        step,
        f'{split} macro F1 {_number(row["macro_f1"])} ({", ".join(f1s)})  '
        f'loss {_number(row["loss"])}',
      )
      return
    text = f'loss {_number(row["loss"])}'
    if row['images_per_second']:
      text += f'  {_number(row["images_per_second"])} images/s'
      if row['data_wait'] > 0.1:
        text += f' ({row["data_wait"]:.0%} of the time waiting for data)'
    if self._live:
      self._live.update(self._bar, completed=step, description=text)
      record(self._workdir, f'step {step}  {text}')
    else:
      self.say(step, text)


def drop_after(path: pathlib.Path, step: int) -> None:
  """Removes rows after `step`, and damaged rows, from metrics.jsonl.

  A run that was killed while it wrote a row leaves half of it.
  """
  if not path.exists():
    return
  lines = path.read_text(errors='replace').splitlines()
  rows = [_parse(line) for line in lines]
  kept = [
    line + '\n'
    for line, row in zip(lines, rows, strict=True)
    if row and row['step'] <= step
  ]
  num_damaged = sum(not row for row in rows[:-1])
  if num_damaged:
    parallel.say(f'{path}: {num_damaged} damaged rows are removed')
  text_files.write_text(path, ''.join(kept))


def _parse(line: str) -> dict:
  """Returns the row of a line; {} if it is damaged."""
  try:
    row = json.loads(line)
    is_row = isinstance(row['step'], int) and isinstance(row['split'], str)
  except (ValueError, TypeError, KeyError):
    return {}
  return row if is_row else {}


def write_table(path: pathlib.Path) -> None:
  """Converts metrics.jsonl into a metrics.csv beside it.

  A row leaves the columns empty that its split doesn't have.
  """
  rows = list(filter(None, map(_parse, path.read_text().splitlines())))
  columns = dict.fromkeys(name for row in rows for name in row)
  text = io.StringIO()
  table = csv.DictWriter(text, columns, lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  text_files.write_text(path.with_suffix('.csv'), text.getvalue())


class Stopwatch:
  """Measures the speed of training since the last `start`."""

  def __init__(self):
    self._since = None
    self._images, self._waited = 0, 0.0

  def start(self) -> None:
    """Starts a new measurement from zero."""
    self._since = time.perf_counter()
    self._images, self._waited = 0, 0.0

  def add(self, images: int) -> None:
    """Adds the number of images of a step."""
    self._images += images

  def timed(self, batches: Iterable[dict]) -> Iterator[dict]:
    """Yields the batches, and measures the time spent waiting for them."""
    before = time.perf_counter()
    for batch in batches:
      self._waited += time.perf_counter() - before
      yield batch
      before = time.perf_counter()

  def read(self) -> dict[str, float]:
    """Returns the metrics in TIMES; NaN before the first `start`."""
    if self._since is None or not self._images:
      return dict.fromkeys(TIMES, math.nan)
    elapsed = time.perf_counter() - self._since
    values = (self._images / elapsed, self._waited / elapsed)
    return dict(zip(TIMES, values, strict=True))


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'

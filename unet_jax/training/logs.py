"""JSON lines, a table, TensorBoard, and the live line on a terminal."""

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
import tensorboardX
from flax import traverse_util
from rich import console, progress

from unet_jax import parallel, text_files
from unet_jax.training import workdir as workdir_lib

# Values that differ from run to run: images per second, and the share of the
# time that was spent waiting for data.
TIMES = ('images_per_second', 'data_wait')


class Log:
  """Writes down what a run reports; only the first process writes."""

  def __init__(self, workdir: pathlib.Path, *, step: int, total_steps: int):
    """Opens the logs, and drops the rows of steps after `step`."""
    self._live = None
    if not parallel.is_first():
      return
    self._path = workdir / workdir_lib.METRICS
    drop_after(self._path, step)
    self._rows = self._path.open('a')
    # purge_step makes TensorBoard forget what follows the restored step.
    self._board = tensorboardX.SummaryWriter(
      str(workdir), purge_step=step + 1, write_to_disk=True
    )
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
    """Adds a row; a score that isn't finite is null."""
    if not parallel.is_first():
      return
    row = {
      name: float(value) if math.isfinite(value) else None
      for name, value in scores.items()
    }
    self._rows.write(json.dumps({'step': step, 'split': split, **row}) + '\n')
    self._rows.flush()
    for name, value in scores.items():
      self._board.add_scalar(f'{split}/{name}', value, step)
    self._tell(step, split, row)

  def picture(self, step: int, tag: str, image: np.ndarray) -> None:
    """Adds uint8[H, W, 3] to TensorBoard."""
    if parallel.is_first():
      self._board.add_image(tag, image, step, dataformats='HWC')

  def histograms(self, step: int, params: Mapping[str, Any]) -> None:
    """Adds a histogram of each weight to TensorBoard."""
    if parallel.is_first():
      flat = traverse_util.flatten_dict(jax.device_get(params), sep='/')
      for name, values in flat.items():
        if np.isfinite(values).all():
          # TensorBoard's own bins end at 1e20.
          self._board.add_histogram(f'weights/{name}', values, step, bins=64)

  def close(self) -> None:
    """Ends the live line, closes the files, and writes the rows as a table."""
    if self._live:
      self._live.stop()
    if parallel.is_first():
      self._rows.close()
      self._board.close()
      write_table(self._path)

  def __enter__(self) -> 'Log':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def say(self, step: int, text: str) -> None:
    """Prints a line above the live one."""
    if parallel.is_first():
      text = f'step {step}  {text}'
      if self._live:
        self._live.console.print(text, soft_wrap=True, highlight=False)
      else:
        print(text, flush=True)

  def _tell(self, step: int, split: str, row: dict) -> None:
    if 'macro_f1' in row:
      f1s = [
        f'{name.removeprefix("f1_")} {_number(value)}'
        for name, value in row.items()
        if name.startswith('f1_')
      ]
      text = f'{split} macro F1 {_number(row["macro_f1"])} ({", ".join(f1s)})'
      if 'loss' in row:
        text += f'  loss {_number(row["loss"])}'
      self.say(step, text)
      return
    text = f'loss {_number(row["loss"])}'
    if row['images_per_second']:
      text += f'  {_number(row["images_per_second"])} images/s'
      if row['data_wait'] > 0.1:
        text += f' ({row["data_wait"]:.0%} of the time waiting for data)'
    if self._live:
      self._live.update(self._bar, completed=step, description=text)
    else:
      self.say(step, text)


def drop_after(path: pathlib.Path, step: int) -> None:
  """Removes rows after `step`, and an incomplete one, from metrics.jsonl."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:  # The run was killed while it wrote the row.
      continue
    if row['step'] <= step:
      kept.append(line + '\n')
  text_files.write_text(path, ''.join(kept))


def write_table(path: pathlib.Path) -> None:
  """Writes the rows of metrics.jsonl beside it as metrics.csv.

  A column that a split doesn't have is empty in its rows.
  """
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  columns = dict.fromkeys(name for row in rows for name in row)
  text = io.StringIO()
  table = csv.DictWriter(text, columns, lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  text_files.write_text(path.with_suffix('.csv'), text.getvalue())


class Stopwatch:
  """Measures training's speed since it was last started."""

  def __init__(self):
    self._since = None
    self._images, self._waited = 0, 0.0

  def start(self) -> None:
    """Resets the counts, and leaves out what came before."""
    self._since = time.perf_counter()
    self._images, self._waited = 0, 0.0

  def add(self, images: int) -> None:
    """Counts a step's images."""
    self._images += images

  def timed(self, batches: Iterable[dict]) -> Iterator[dict]:
    """Yields the batches, and counts the time until each is there."""
    before = time.perf_counter()
    for batch in batches:
      self._waited += time.perf_counter() - before
      yield batch
      before = time.perf_counter()

  def read(self) -> dict[str, float]:
    """Returns the values that TIMES names; NaN before the first start."""
    if self._since is None or not self._images:
      return dict.fromkeys(TIMES, math.nan)
    elapsed = time.perf_counter() - self._since
    values = (self._images / elapsed, self._waited / elapsed)
    return dict(zip(TIMES, values, strict=True))


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'

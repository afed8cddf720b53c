"""JSON lines, TensorBoard, and the live line on a terminal."""

import json
import math
import pathlib
import time

import numpy as np
import tensorboardX
from rich import console, progress

from unet_jax import config as config_lib
from unet_jax import parallel
from unet_jax.training import workdir as workdir_lib


class Log:
  """What a run tells of itself; on processes other than the first, nothing."""

  def __init__(self, workdir: pathlib.Path, *, step: int, total_steps: int):
    """Opens the logs, and drops the rows that come after `step`."""
    self._live = None
    if not parallel.is_first():
      return
    path = workdir / workdir_lib.METRICS
    drop_after(path, step)
    self._rows = path.open('a')
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

  def close(self) -> None:
    """Ends the live line and the files."""
    if self._live:
      self._live.stop()
    if parallel.is_first():
      self._rows.close()
      self._board.close()

  def __enter__(self) -> 'Log':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def _tell(self, step: int, split: str, row: dict) -> None:
    if 'loss' in row:
      speed = row['images_per_second']
      text = f'loss {_number(row["loss"])}  {_number(speed)} images/s'
      if self._live:
        self._live.update(self._bar, completed=step, description=text)
        return
    else:
      text = f'{split} macro F1 {_number(row["macro_f1"])}'
    text = f'step {step}  {text}'
    if self._live:
      self._live.console.print(text, soft_wrap=True, highlight=False)
    else:
      print(text, flush=True)


def drop_after(path: pathlib.Path, step: int) -> None:
  """Removes the rows of metrics.jsonl whose step is later, and a torn one."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:  # Killed while it was written.
      continue
    if row['step'] <= step:
      kept.append(line + '\n')
  config_lib.write_text(path, ''.join(kept))


class Stopwatch:
  """Counts images per second of training alone, since it was last read."""

  def __init__(self):
    self._since = None
    self._images = 0

  def start(self) -> None:
    """Starts to count anew; what came before is left out."""
    self._since, self._images = time.perf_counter(), 0

  def add(self, images: int) -> None:
    """Counts a step's images."""
    self._images += images

  def read(self) -> float:
    """Returns images per second, NaN before the first start."""
    if self._since is None or not self._images:
      return math.nan
    return self._images / (time.perf_counter() - self._since)


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'

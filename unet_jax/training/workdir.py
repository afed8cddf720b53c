"""The folder of a run: its files, and whether a run may begin or resume."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from unet_jax import checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import splits

CONFIG = config_lib.FILE
METRICS = 'metrics.jsonl'
TABLE = 'metrics.csv'
PLAN = 'init_from.txt'
STOPPED = 'stopped.txt'
# Everything that a run writes; --overwrite removes these and nothing else.
WRITTEN = (
  CONFIG,
  METRICS,
  TABLE,
  STOPPED,
  PLAN,
  splits.FILE,
  checkpoint.FOLDER,
  'evaluation',
  'report.html',
  'broken-[0-9]*',
  'events.out.tfevents.*',
)


def check(workdir: pathlib.Path, config, *, overwrite: bool) -> None:
  """Checks that a run may begin, resume, or be overwritten in a folder.

  Raises:
    InputError: if the folder can't be written, or holds another run.
  """
  saved = workdir / CONFIG
  with _naming_workdir(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    is_empty = not any(workdir.iterdir())
    if not os.access(workdir, os.W_OK):
      raise PermissionError(None, 'no permission')
  if overwrite and not is_empty and not saved.exists():
    raise errors.InputError(
      f'--overwrite: {workdir} has no {CONFIG}, so it is not a run; name '
      'another folder with --workdir'
    )
  if saved.exists() and not overwrite:
    differing = config_lib.differences(config_lib.load(saved), config)
    if differing:
      raise errors.InputError(
        f'{workdir} holds a run with another config: {"; ".join(differing)}. '
        'Start over with --overwrite, or use another --workdir; '
        f'--init_from={workdir} starts from the weights of this run'
      )


def begin(workdir: pathlib.Path, config, *, overwrite: bool) -> None:
  """Removes the old run if `overwrite` is set; writes a new run's config."""
  with _naming_workdir(workdir):
    for pattern in WRITTEN if overwrite else ():
      for path in workdir.glob(pattern):
        if path.is_dir():
          shutil.rmtree(path)
        else:
          path.unlink()
    if not (workdir / CONFIG).exists():
      config_lib.save(config, workdir / CONFIG)


@contextlib.contextmanager
def _naming_workdir(workdir: pathlib.Path) -> Iterator[None]:
  """Turns an OSError into an InputError that names the workdir."""
  try:
    yield
  except OSError as error:
    raise errors.InputError(
      f'--workdir {workdir} can not be written ({error.strerror}); name another'
    ) from None


def last_step(workdir: pathlib.Path) -> int:
  """Returns the step of the newest checkpoint; 0 if there is none."""
  # The folder of an unfinished checkpoint has a suffix after the number.
  names = (folder.name for folder in (workdir / checkpoint.FOLDER).glob('*'))
  return max((int(name) for name in names if name.isdigit()), default=0)


def is_finished(workdir: pathlib.Path, total_steps: int, split: str) -> bool:
  """Returns whether a run has ended and its `split` has been evaluated.

  A run ends after its last step, or by early stopping.
  """
  path = workdir / 'evaluation' / f'{split}.json'
  return has_ended(workdir, total_steps) and path.exists()


def has_ended(workdir: pathlib.Path, total_steps: int) -> bool:
  """Returns whether no step of a run is left."""
  last = workdir / checkpoint.FOLDER / str(total_steps)
  return last.is_dir() or (workdir / STOPPED).exists()


def write_plan(workdir: pathlib.Path, plan: str) -> None:
  """Writes the plan of a warm start into the workdir."""
  if parallel.is_first():
    (workdir / PLAN).write_text(plan + '\n')


def stop(workdir: pathlib.Path, why: str) -> None:
  """Writes the reason of early stopping into the workdir."""
  if parallel.is_first():
    (workdir / STOPPED).write_text(why + '\n')

"""A run's folder: what it may hold, and whether a run may go on in it."""

import pathlib
import shutil

from unet_jax import checkpoint, parallel
from unet_jax import config as config_lib

CONFIG = 'config.json'
METRICS = 'metrics.jsonl'
PLAN = 'init_from.txt'
# All that a run writes; --overwrite removes this and nothing else.
WRITTEN = (
  CONFIG,
  METRICS,
  PLAN,
  checkpoint.FOLDER,
  'evaluation',
  'broken-*',
  'events.out.tfevents.*',
)


def prepare(workdir: pathlib.Path, config, *, overwrite: bool) -> None:
  """Makes the folder, or makes sure that its run is the same one.

  Raises:
    InputError: if it can't be written, or holds another run or other files.
  """
  saved = workdir / CONFIG
  overwrite = overwrite and parallel.is_first()
  if overwrite and workdir.is_dir() and any(workdir.iterdir()):
    if not saved.exists():
      raise config_lib.InputError(
        f'--overwrite: {workdir} has no {CONFIG}, so it is not a run; name '
        'another folder with --workdir'
      )
    _remove(workdir)
  if has_checkpoint(workdir):
    differing = config_lib.differences(config_lib.load(saved), config)
    if differing:
      raise config_lib.InputError(
        f'{workdir} holds a run with another config: {"; ".join(differing)}. '
        'Start over with --overwrite, or use another --workdir, with '
        f'--init_from={workdir} for its weights'
      )
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if parallel.is_first():
      config_lib.save(config, saved)
  except OSError as error:
    raise config_lib.InputError(
      f'--workdir {workdir} can not be written ({error.strerror}); name another'
    ) from None


def has_checkpoint(workdir: pathlib.Path) -> bool:
  """Tells whether a run can be resumed."""
  # An unfinished one has more to its name.
  folders = (workdir / checkpoint.FOLDER).glob('*')
  return any(folder.name.isdigit() for folder in folders)


def is_finished(workdir: pathlib.Path, total_steps: int) -> bool:
  """Tells whether a run came to its last step and was evaluated."""
  last = workdir / checkpoint.FOLDER / str(total_steps)
  return last.is_dir() and any(workdir.glob('evaluation/*.json'))


def _remove(workdir: pathlib.Path) -> None:
  for pattern in WRITTEN:
    for path in workdir.glob(pattern):
      if path.is_dir():
        shutil.rmtree(path)
      else:
        path.unlink()


def write_plan(workdir: pathlib.Path, plan: str) -> None:
  """Keeps the plan of a warm start."""
  if parallel.is_first():
    (workdir / PLAN).write_text(plan + '\n')

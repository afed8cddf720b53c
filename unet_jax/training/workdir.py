"""The folder of a run: its files, and whether a run may begin or resume."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import shutil
import socket
from collections.abc import Iterator

from unet_jax import checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import splits
from unet_jax.training import digests

CONFIG = config_lib.FILE
METRICS = 'metrics.jsonl'
TABLE = 'metrics.csv'
PLAN = 'init_from.txt'
STOPPED = 'stopped.txt'
TEXT = 'train.log'
JOURNAL = 'journal.jsonl'
LOCK = 'lock.txt'  # Only while a run holds the folder.
# Errors of a full or read-only disk; reading never gives them.
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# Everything that a run writes; --overwrite removes these and nothing else.
WRITTEN = (
  CONFIG,
  METRICS,
  TABLE,
  STOPPED,
  PLAN,
  TEXT,
  JOURNAL,
  splits.FILE,
  digests.FILE,
  checkpoint.FOLDER,
  'doctor.json',  # Findings of the doctor on this run; see the report.
  'evaluation',
  'export',
  'report.html',
  'broken-[0-9]*',
  'events.out.tfevents.*',
)


def adopt_schedule(workdir: pathlib.Path, config):
  """Returns the config with the schedule of the run in a folder.

  The run may have been continued, or is now: with more steps than it had, its
  schedule keeps its length. A schedule that the config sets stays.
  """
  path = workdir / CONFIG
  if config.optim.schedule_steps or not path.exists():
    return config
  adopted = config.copy_and_resolve_references()
  adopted.optim.schedule_steps = _schedule_steps(
    config_lib.load(path), config.total_steps
  )
  return adopted


def adopt_earlier(workdir: pathlib.Path, config):
  """Returns the config with what the run of an earlier version was made with.

  Its config.json lacks newer keys, some of which had no effect of their default
  before they existed; see config.EARLIER.
  """
  path = workdir / CONFIG
  if not path.exists():
    return config
  adopted = config.copy_and_resolve_references()
  adopted.update_from_flattened_dict(config_lib.earlier(path))
  return adopted


def _schedule_steps(saved, total_steps: int) -> int:
  """Returns a saved run's schedule_steps if it goes on to `total_steps`."""
  is_longer = total_steps > saved.total_steps
  return saved.optim.schedule_steps or is_longer * saved.total_steps


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a folder, on all hosts that share it.

  The first process holds it. The kernel frees it when that process ends.

  Raises:
    InputError: if another run holds the folder, or it cannot be written.
  """
  if not parallel.is_first():
    yield
    return
  is_new = not workdir.exists()
  with _naming_workdir(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    descriptor = _take(workdir)
  try:
    yield
  finally:
    with contextlib.suppress(OSError):  # The disk may be read-only by now.
      (workdir / LOCK).unlink()
      if is_new and not any(workdir.iterdir()):
        workdir.rmdir()
    os.close(descriptor)


def _take(workdir: pathlib.Path) -> int:
  """Locks a folder; returns the open file that must stay open."""
  path = workdir / LOCK
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
      holder = os.read(descriptor, 1000).decode(errors='replace').strip()
      os.close(descriptor)
      raise errors.InputError(
        f'--workdir {workdir} is in use by {holder or "another run"}; wait for '
        'its end, or name another folder'
      ) from None
    # The run that held it may have removed the file since it was opened.
    if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
      break
    os.close(descriptor)
  now = datetime.datetime.now().astimezone().isoformat(' ', 'seconds')
  holder = f'process {os.getpid()} on {socket.gethostname()} since {now}'
  os.ftruncate(descriptor, 0)
  os.write(descriptor, f'{holder}\n'.encode())
  return descriptor


def check(workdir: pathlib.Path, config, *, overwrite: bool) -> None:
  """Checks that a run may begin, resume, or be overwritten in a folder.

  Raises:
    InputError: if the folder can't be written, or holds another run.
  """
  saved = workdir / CONFIG
  with _naming_workdir(workdir):
    is_empty = not any(path.name != LOCK for path in workdir.iterdir())
    if not os.access(workdir, os.W_OK):
      raise PermissionError(None, 'no permission')
  if overwrite and not is_empty and not saved.exists():
    raise errors.InputError(
      f'--overwrite: {workdir} has no {CONFIG}, so it is not a run; name '
      'another folder with --workdir'
    )
  if saved.exists() and not overwrite:
    before = config_lib.load(saved)
    # A run may be continued, so a larger number of steps is no other config.
    before.optim.schedule_steps = _schedule_steps(before, config.total_steps)
    before.total_steps = max(before.total_steps, config.total_steps)
    differing = config_lib.differences(before, config)
    if differing:
      raise errors.InputError(
        f'{workdir} holds a run with another config: {"; ".join(differing)}. '
        'Start over with --overwrite, or use another --workdir; '
        f'--init_from={workdir} starts from the weights of this run'
      )


def begin(
  workdir: pathlib.Path, config, split: str, *, overwrite: bool
) -> None:
  """Removes the old run if `overwrite` is set; writes a new run's config.

  The config of a run that is continued is written, too, after the marks of its
  earlier end are gone: stopped.txt, and the report of the final `split`.
  """
  with _naming_workdir(workdir):
    for pattern in WRITTEN if overwrite else ():
      for path in workdir.glob(pattern):
        if path.is_dir():
          shutil.rmtree(path)
        else:
          path.unlink()
    saved = workdir / CONFIG
    if not saved.exists():
      config_lib.save(config, saved)
    elif config_lib.load(saved).total_steps < config.total_steps:
      (workdir / STOPPED).unlink(missing_ok=True)
      _report(workdir, split).unlink(missing_ok=True)
      config_lib.save(config, saved)


@contextlib.contextmanager
def _naming_workdir(workdir: pathlib.Path) -> Iterator[None]:
  """Turns an OSError into an InputError that names the workdir."""
  try:
    yield
  except OSError as error:
    raise errors.InputError(
      f'--workdir {workdir} cannot be written ({error.strerror}); name another'
    ) from None


@contextlib.contextmanager
def naming_disk_faults(workdir: pathlib.Path) -> Iterator[None]:
  """Turns any error of a full or read-only disk into an InputError."""
  try:
    yield
  except Exception as error:
    why = disk_fault(error)
    if not why or isinstance(error, errors.InputError):
      raise
    raise errors.InputError(
      f'{workdir} cannot be written ({why}); correct that, and give the same '
      'command without --overwrite: it resumes from the last checkpoint, if '
      'there is one'
    ) from None


def disk_fault(error: BaseException | None) -> str:
  """Returns which fault of the disk has led to an error; '' if none has.

  The layers of orbax wrap it, and tensorstore gives only its text.
  """
  while error:
    for number in DISK_FAULTS:
      why = os.strerror(number)
      if getattr(error, 'errno', None) == number or why in str(error):
        return why
    error = error.__cause__ or error.__context__
  return ''


def last_step(workdir: pathlib.Path) -> int:
  """Returns the step of the newest checkpoint; 0 if there is none."""
  # The folder of an unfinished checkpoint has a suffix after the number.
  names = (folder.name for folder in (workdir / checkpoint.FOLDER).glob('*'))
  return max((int(name) for name in names if name.isdigit()), default=0)


def is_finished(workdir: pathlib.Path, total_steps: int, split: str) -> bool:
  """Returns whether a run has ended and its `split` has been evaluated.

  A run ends after its last step, or by early stopping. The last row of its
  metrics is then that of the split, which alone has no loss.
  """
  is_scored = _report(workdir, split).exists()
  if not (is_scored and has_ended(workdir, total_steps)):
    return False
  with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
    row = json.loads((workdir / METRICS).read_text().splitlines()[-1])
    return row['split'] == split and 'loss' not in row
  return False


def _report(workdir: pathlib.Path, split: str) -> pathlib.Path:
  return workdir / 'evaluation' / f'{split}.json'


def has_ended(workdir: pathlib.Path, total_steps: int) -> bool:
  """Returns whether no step of a run is left."""
  last = workdir / checkpoint.FOLDER / str(total_steps)
  if last.is_dir() or not (workdir / STOPPED).exists():
    return last.is_dir()
  # A run that stopped early ends later if it is now given more steps.
  return config_lib.load(workdir / CONFIG).total_steps >= total_steps


def write_plan(workdir: pathlib.Path, plan: str) -> None:
  """Writes the plan of a warm start into the workdir."""
  if parallel.is_first():
    (workdir / PLAN).write_text(plan + '\n')


def stop(workdir: pathlib.Path, why: str) -> None:
  """Writes the reason of early stopping into the workdir."""
  if parallel.is_first():
    (workdir / STOPPED).write_text(why + '\n')

"""Orbax checkpoints: which are kept, saving, restoring, broken ones."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import absl.logging
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax import checksums, errors, parallel

FOLDER = 'checkpoints'
SUMMED = 'checksums'  # In the metadata of a step that has a file of checksums.

# One device writes a whole array. By default each of N devices cuts a share of
# every array, for which the first save compiles N small programs an array. The
# public ways to say so print a warning, or lose the types of random keys.
ocp.type_handlers.get_type_handler(jax.Array)._use_replica_parallel = False


def _is_news(record: logging.LogRecord) -> bool:
  """Returns whether to print a record: orbax raises what it logs as well."""
  return not (record.exc_info and 'orbax' in record.pathname)


absl.logging.get_absl_logger().addFilter(_is_news)
# It logs each task that orbax gives up after one has failed.
logging.getLogger('asyncio').setLevel(logging.CRITICAL)


def rank(metrics: Mapping[str, float]) -> tuple[float, float]:
  """Returns a key to sort by: higher scores, then earlier steps, are better."""
  return metrics['score'], -metrics['step']


def make_manager(
  workdir: pathlib.Path, *, has_scores: bool, read_only: bool = False
) -> ocp.CheckpointManager:
  """Opens a run's checkpoints, of which the latest two and the best are kept.

  Args:
    workdir: the run's folder.
    has_scores: whether checkpoints have scores, so that there is a best one.
    read_only: whether to leave all files as they are, since a run may be
      writing them.
  """
  keep = [policies.LatestN(2)]
  if has_scores:
    keep.append(
      policies.BestN(
        get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False
      )
    )
  folder = workdir.absolute() / FOLDER
  options = policies.CheckpointManagerOptions(
    best_fn=rank if has_scores else None,
    preservation_policy=policies.AnyPreservationPolicy(keep),
    # A killed run leaves a checkpoint half written.
    cleanup_tmp_directories=not read_only,
    read_only=read_only,
    async_options=ocp.options.AsyncOptions(
      post_finalization_callback=lambda: _add_checksums(folder)
    ),
  )
  # With best_fn, max_to_keep deletes even the newest if its score is low.
  try:
    return ocp.CheckpointManager(folder, options=options)
  except ValueError as error:
    raise errors.InputError(
      f'{folder} cannot be opened ({reason(error)}): a file '
      '_CHECKPOINT_METADATA in it is damaged; remove that file, which holds '
      'nothing of the run'
    ) from None


def _add_checksums(folder: pathlib.Path) -> None:
  """Adds them to the step that orbax will rename from its temporary name.

  So no step is complete without them, and the loop does not wait for them.
  """
  for unfinished in folder.glob('*.orbax-checkpoint-tmp*'):
    checksums.write(unfinished)


def save(
  manager: ocp.CheckpointManager,
  step: int,
  trees: Mapping[str, Any],
  meta: dict,
  score: float | None,
) -> None:
  """Writes a checkpoint in the background.

  Args:
    manager: from `make_manager`.
    step: number of the step.
    trees: trees of arrays, by name.
    meta: metadata, written as JSON.
    score: the higher, the better; None if the step has not been evaluated.

  Raises:
    RuntimeError: orbax skipped the step, as it does if the step is not newer
      than the latest checkpoint.
  """
  items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
  metrics = None if score is None else {'score': score, 'step': step}
  saved = manager.save(
    step,
    args=ocp.args.Composite(
      meta=ocp.args.JsonSave(meta | {SUMMED: checksums.FILE}), **items
    ),
    metrics=metrics,
  )
  if not saved:
    raise RuntimeError(
      f'step {step} was not saved; it must be newer than the latest '
      f'checkpoint, {manager.latest_step()}'
    )


def restore(
  manager: ocp.CheckpointManager, step: int, targets: Mapping[str, Any]
) -> dict[str, Any]:
  """Reads trees of arrays.

  Args:
    manager: from `make_manager`.
    step: number of the step.
    targets: trees of arrays or jax.ShapeDtypeStructs, by name, which give the
      shapes, dtypes and shardings to restore to.

  Raises:
    ValueError: a file of the step is damaged; or an error of orbax.
  """
  if not verify(manager, step):
    parallel.say(
      f'checkpoint {step} is of an earlier version, without checksums: it is '
      'used as it is'
    )
  items = {
    name: ocp.args.StandardRestore(tree) for name, tree in targets.items()
  }
  trees = manager.restore(step, args=ocp.args.Composite(**items))
  return {name: trees[name] for name in targets}


def restore_meta(manager: ocp.CheckpointManager, step: int) -> dict:
  """Reads the metadata of a checkpoint; raises ValueError if it is damaged."""
  verify(manager, step, 'meta/')
  meta = _read_meta(manager, step)
  meta.pop(SUMMED, None)
  return meta


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict:
  args = ocp.args.Composite(meta=ocp.args.JsonRestore())
  return manager.restore(step, args=args)['meta']


def verify(manager: ocp.CheckpointManager, step: int, part: str = '') -> bool:
  """Compares the files of a step with their checksums.

  Args:
    manager: from `make_manager`.
    step: number of the step.
    part: a folder of the step, such as 'meta/'; '' is all files.

  Returns:
    Whether the step has checksums; earlier versions wrote none.

  Raises:
    ValueError: a file is damaged, or the checksums are gone.
  """
  manager.wait_until_finished()
  folder = pathlib.Path(manager.directory) / str(step)
  if (folder / checksums.FILE).exists():
    if fault := checksums.fault(folder, part):
      raise ValueError(fault)
    return True
  if SUMMED in _read_meta(manager, step):
    raise ValueError(f'{checksums.FILE} is missing')
  return False


def latest_meta(manager: ocp.CheckpointManager) -> dict:
  """Reads the newest metadata that can be read; {} if there is none."""
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      return restore_meta(manager, step)
    except Exception:  # `restore_latest` handles broken checkpoints.
      continue
  return {}


def restore_latest(
  manager: ocp.CheckpointManager, targets: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
  """Restores the newest checkpoint that can be read.

  Unreadable checkpoints are renamed to broken-STEP. If they stayed, orbax would
  silently skip saving the steps up to them again.

  Args:
    manager: from `make_manager`.
    targets: see `restore`.

  Returns:
    The step and its trees; 0 and {} if there is no checkpoint.

  Raises:
    InputError: there are checkpoints, but none can be read.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  for step in steps:
    try:
      verify(manager, step, 'metrics/')  # The best step is chosen by these.
    except Exception as error:
      _move_aside(manager, step, reason(error))
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      restore_meta(manager, step)
      return step, restore(manager, step, targets)
    except Exception as error:  # Each layer of orbax raises errors of its own.
      _move_aside(manager, step, reason(error))
  if steps:
    raise errors.InputError(
      f'no checkpoint of {manager.directory.parent} can be read; they are now '
      'called broken-STEP: put an intact copy back as '
      f'{manager.directory.name}/STEP, or start over with --overwrite'
    )
  return 0, {}


def reason(error: Exception) -> str:
  """Returns the first line of an error's text, at most 200 characters."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0][:200]


def _move_aside(manager: ocp.CheckpointManager, step: int, why: str) -> None:
  folder = pathlib.Path(manager.directory)
  broken = folder.parent / f'broken-{step}'
  while broken.exists():
    broken = broken.with_name(f'{broken.name}-again')
  parallel.say(f'checkpoint {step} is unreadable, moving it to {broken}: {why}')
  parallel.wait('broken')
  if parallel.is_first():
    (folder / str(step)).rename(broken)
  parallel.wait('moved')
  manager.reload()


def find_step(manager: ocp.CheckpointManager, which: str) -> int:
  """Returns the step of a checkpoint.

  Args:
    manager: from `make_manager`.
    which: 'best', 'latest' or a step's number. If no checkpoint has a score,
      'best' is the latest.

  Raises:
    InputError: there is no such checkpoint.
  """
  steps = sorted(manager.all_steps())
  if not steps:
    raise errors.InputError(f'{manager.directory} holds no checkpoint')
  if which == 'latest':
    return steps[-1]
  if which == 'best':
    for step in steps:
      try:
        verify(manager, step, 'metrics/')
      except Exception as error:
        raise errors.InputError(
          f'the score of checkpoint {step} of {manager.directory.parent} is '
          f'unreadable ({reason(error)}), so the best checkpoint is unknown; '
          f'name latest, or one of {", ".join(map(str, steps))}'
        ) from None
    best = manager.best_step()
    return steps[-1] if best is None else best
  if which.isdecimal() and int(which) in steps:
    return int(which)
  raise errors.InputError(
    f'--checkpoint {which}: there is no such checkpoint; use best, latest or '
    f'one of {", ".join(map(str, steps))}'
  )

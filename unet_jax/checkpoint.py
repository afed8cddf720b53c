"""Checkpoints with orbax: what is kept, falling back, restoring arrays."""

import pathlib
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from unet_jax import errors, parallel

FOLDER = 'checkpoints'


def rank(metrics: Mapping[str, float]) -> tuple[float, float]:
  """Orders scored checkpoints: a higher score, and of equals the earlier."""
  return metrics['score'], -metrics['step']


def make_manager(
  workdir: pathlib.Path, *, has_scores: bool, read_only: bool = False
) -> ocp.CheckpointManager:
  """Opens a run's checkpoints: the latest two, and the best if scored.

  Read only, it leaves alone what a run may be writing there.
  """
  keep = [policies.LatestN(2)]
  if has_scores:
    keep.append(
      policies.BestN(
        get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False
      )
    )
  options = policies.CheckpointManagerOptions(
    best_fn=rank if has_scores else None,
    preservation_policy=policies.AnyPreservationPolicy(keep),
    cleanup_tmp_directories=not read_only,  # What a kill left half written.
    read_only=read_only,
  )
  # max_to_keep, the usual option, would with best_fn delete the newest.
  return ocp.CheckpointManager(workdir.absolute() / FOLDER, options=options)


def save(
  manager: ocp.CheckpointManager,
  step: int,
  trees: Mapping[str, Any],
  meta: dict,
  score: float | None,
) -> None:
  """Writes trees of arrays and `meta`, as JSON, in the background.

  Raises:
    RuntimeError: if orbax skips the step, as it does one that isn't newer
      than its latest.
  """
  items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
  metrics = None if score is None else {'score': score, 'step': step}
  saved = manager.save(
    step,
    args=ocp.args.Composite(meta=ocp.args.JsonSave(meta), **items),
    metrics=metrics,
  )
  if not saved:
    raise RuntimeError(
      f'step {step} was not saved; the latest is {manager.latest_step()}'
    )


def restore(
  manager: ocp.CheckpointManager, step: int, targets: Mapping[str, Any]
) -> dict[str, Any]:
  """Reads trees of arrays into their targets: shapes, types, shardings."""
  items = {
    name: ocp.args.StandardRestore(tree) for name, tree in targets.items()
  }
  found = manager.restore(step, args=ocp.args.Composite(**items))
  return {name: found[name] for name in targets}


def restore_meta(manager: ocp.CheckpointManager, step: int) -> dict:
  """Reads the JSON of a checkpoint."""
  args = ocp.args.Composite(meta=ocp.args.JsonRestore())
  return manager.restore(step, args=args)['meta']


def latest_meta(manager: ocp.CheckpointManager) -> dict:
  """Reads the JSON of the newest checkpoint that has it; {} if none has."""
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      return restore_meta(manager, step)
    except Exception:  # `restore_latest` deals with damage.
      continue
  return {}


def restore_latest(
  manager: ocp.CheckpointManager, targets: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
  """Restores the newest checkpoint that can be read.

  One that can't is moved aside as broken-STEP, since orbax skips without a
  word a save that isn't newer than its latest.

  Returns:
    Its step and trees, or 0 and nothing if there is none.

  Raises:
    InputError: if there are some, but none of them can be read.
  """
  steps = sorted(manager.all_steps(), reverse=True)
  for step in steps:
    try:
      return step, restore(manager, step, targets)
    except Exception as error:  # Each layer of orbax raises its own.
      _move_aside(manager, step, reason(error))
  if steps:
    raise errors.InputError(
      f'no checkpoint of {manager.directory.parent} can be read; they are now '
      'called broken-STEP: restore one, or start over with --overwrite'
    )
  return 0, {}


def reason(error: Exception) -> str:
  """Returns the first line of an error's text."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0][:200]


def _move_aside(manager: ocp.CheckpointManager, step: int, why: str) -> None:
  folder = pathlib.Path(manager.directory)
  broken = folder.parent / f'broken-{step}'
  while broken.exists():
    broken = broken.with_name(f'{broken.name}-again')
  parallel.say(f'checkpoint {step} is unreadable, moved to {broken}: {why}')
  parallel.wait('broken')
  if parallel.is_first():
    (folder / str(step)).rename(broken)
  parallel.wait('moved')
  manager.reload()


def find_step(manager: ocp.CheckpointManager, which: str) -> int:
  """Returns the step that `best`, `latest` or a number means.

  Where none is scored, the latest is the best.

  Raises:
    InputError: if there is none.
  """
  steps = sorted(manager.all_steps())
  if not steps:
    raise errors.InputError(f'{manager.directory} holds no checkpoint')
  if which == 'latest':
    return steps[-1]
  if which == 'best':
    best = manager.best_step()
    return steps[-1] if best is None else best
  if which.isdigit() and int(which) in steps:
    return int(which)
  raise errors.InputError(
    f'--checkpoint {which}: there is none; use best, latest or one of '
    f'{", ".join(map(str, steps))}'
  )

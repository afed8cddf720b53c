"""Saves a run's state in checkpoints, and resumes a run from them."""

import importlib.metadata
import json
import pathlib
from typing import Any

import ml_collections

from unet_jax import checkpoint, errors, parallel
from unet_jax.data import image_kinds, sources
from unet_jax.training import monitor as monitor_lib
from unet_jax.training import step as step_lib

# The fields of TrainState that training changes; `averaged` is saved apart.
SAVED = ('step', 'params', 'opt_state', 'batch_stats', 'rng')


def restore(
  manager: checkpoint.ocp.CheckpointManager,
  state: step_lib.TrainState,
  total_steps: int,
) -> tuple[int, step_lib.TrainState, monitor_lib.Monitor]:
  """Restores the newest checkpoint that can be read.

  Early stopping counts anew in a run that had fewer than `total_steps`.

  Returns:
    The number of finished steps, the state after them, and the monitor; without
    a checkpoint 0, `state` itself, and a new monitor.

  Raises:
    InputError: if no checkpoint can be read.
  """
  abstract = parallel.abstract(to_save(state))
  steps_done, trees = checkpoint.restore_latest(manager, abstract)
  if not steps_done:
    return 0, state, monitor_lib.Monitor()
  meta = checkpoint.restore_meta(manager, steps_done)
  monitor = monitor_lib.restore(meta)
  if meta['config']['total_steps'] < total_steps:
    monitor.num_worse = 0
  return steps_done, with_saved(state, trees), monitor


def recall_faults(workdir: pathlib.Path) -> str:
  """Returns the collapse in which a finished run ended; '' if there is none."""
  meta = read_meta(workdir)
  loss = meta.get('config', {}).get('loss', {})
  return monitor_lib.restore(meta).faults(meta.get('classes', ()), loss)


def read_meta(workdir: pathlib.Path) -> dict:
  """Reads the JSON of the newest checkpoint; {} if there is none."""
  opened = checkpoint.make_manager(workdir, has_scores=False, read_only=True)
  with opened as manager:
    return checkpoint.latest_meta(manager)


def check_data(meta: dict, dataset: sources.Dataset) -> None:
  """Checks that the data is the data that the run began with.

  Args:
    meta: metadata of the run's checkpoint; {} without a checkpoint.
    dataset: the data as it is now.

  Raises:
    InputError: if the data differs; names what differs.
  """
  now = {
    'classes': list(dataset.stats.classes),
    'splits': dataset.digests,
    'mean': list(dataset.stats.mean),
    'std': list(dataset.stats.std),
    'kind': image_kinds.to_json(dataset.stats.kind),
    'limits': list(dataset.stats.limits),
  }
  before = now | meta  # A run of an earlier version saved fewer.
  differing = [key for key in now if before[key] != now[key]]
  if differing:
    raise errors.InputError(
      f'{dataset.root}: the {" and ".join(differing)} of the images are not '
      'those this run began with; restore them, or start over with --overwrite'
    )


def to_save(state: step_lib.TrainState) -> dict[str, Any]:
  """Returns the arrays to save; evaluation needs only `averaged`."""
  rest = {name: getattr(state, name) for name in SAVED}
  return {'state': rest, 'averaged': state.averaged}


def with_saved(
  state: step_lib.TrainState, trees: dict[str, Any]
) -> step_lib.TrainState:
  """Returns the state with the saved arrays of `to_save`."""
  return state.replace(**trees['state'], averaged=trees['averaged'])


def make_meta(
  config: ml_collections.ConfigDict, dataset: sources.Dataset
) -> dict:
  """Returns the metadata of the run's checkpoints, as JSON."""
  return {
    'config': json.loads(config.to_json()),
    'classes': dataset.stats.classes,
    'mean': dataset.stats.mean,
    'std': dataset.stats.std,
    'kind': image_kinds.to_json(dataset.stats.kind),
    'limits': dataset.stats.limits,
    'splits': dataset.digests,
    'versions': versions(),
  }


def versions() -> dict[str, str]:
  """Returns the versions of the packages that a checkpoint depends on."""
  packages = ('unet_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {name: importlib.metadata.version(name) for name in packages}

"""Prepares a run: checks its config, workdir and data."""

import pathlib
from typing import NamedTuple

import ml_collections

from unet_jax import config as config_lib
from unet_jax import errors, parallel
from unet_jax.data import layout, sources, spec, splits
from unet_jax.training import digests, parts, resume, setup, warm_start
from unet_jax.training import workdir as workdir_lib


class Job(NamedTuple):
  """A run whose config, workdir and data are checked.

  Attributes:
    config: config with the data's absolute root and classes.
    dataset: splits of the data, read once.
    run: the model, and the functions that train and evaluate it.
    transfer: the plan of a warm start; None for a cold start.
    final_split: split that is scored at the end.
    final_checkpoint: `best` or `latest`, the checkpoint that is scored.
    saved_step: step of the newest checkpoint; 0 if there is none.
    has_ended: whether no step is left, only the final evaluation.
  """

  config: ml_collections.ConfigDict
  dataset: sources.Dataset
  run: setup.Run
  transfer: warm_start.WarmStart | None
  final_split: str
  final_checkpoint: str
  saved_step: int
  has_ended: bool


def prepare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  init_from: str,
  overwrite: bool,
) -> Job | None:
  """Checks config, workdir and data, reads the data, and builds the run.

  Removes nothing from the workdir. Takes the arguments of
  loop.train_and_evaluate.

  Returns:
    The job, or None if the run in the workdir is finished.

  Raises:
    InputError: for an error that the user can fix.
  """
  config_lib.check(config)
  if not overwrite:
    config = workdir_lib.adopt_earlier(workdir, config)
  config, opened = open_data(config)
  if not overwrite:
    config = workdir_lib.adopt_schedule(workdir, config)
  workdir_lib.check(workdir, config, overwrite=overwrite)
  final_split, final_checkpoint = final_evaluation(config, opened)
  saved_step = 0 if overwrite else workdir_lib.last_step(workdir)
  if saved_step and workdir_lib.is_finished(
    workdir, config.total_steps, final_split
  ):
    parallel.say(
      f'{workdir} is finished, at step {saved_step}; a larger '
      '--config.total_steps trains on, --overwrite starts over'
    )
    return None
  if saved_step:
    transfer, saved_splits = None, splits.load(workdir)
  else:
    transfer = warm_start.prepare(config, opened, init_from)
    saved_splits = {}
  dataset = sources.load(spec.read(config), opened, saved_splits)
  digests.check_processes(dataset.images)
  meta = resume.read_meta(workdir) if saved_step else {}
  if saved_step:
    check_images(workdir, dataset)
  resume.check_data(meta, dataset)
  config = setup.choose_window(config, dataset, meta)
  return Job(
    config=config,
    dataset=dataset,
    run=setup.make_run(config, dataset.stats),
    transfer=transfer,
    final_split=final_split,
    final_checkpoint=final_checkpoint,
    saved_step=saved_step,
    has_ended=bool(saved_step)
    and workdir_lib.has_ended(workdir, config.total_steps),
  )


def check_images(workdir: pathlib.Path, dataset: sources.Dataset) -> None:
  """Raises InputError if the images are not those that the run began with."""
  saved = digests.load(workdir)
  if saved:
    digests.check(saved, dataset.images, dataset.root)
  else:
    parallel.say(
      f'{workdir} has no {digests.FILE}, so its images may have changed since '
      'it began; their digests are saved now'
    )


def open_data(
  config: ml_collections.ConfigDict,
) -> tuple[ml_collections.ConfigDict, layout.Layout]:
  """Checks the config, finds the data, and completes the config.

  Returns:
    The config with the data's absolute root and classes, and the data's layout.

  Raises:
    InputError: for every error that shows before an image is read.
  """
  config_lib.check(config)
  parts.check(config.transfer, config.model.depth)
  parallel.check_batch(config.batch_size, config.optim.accumulate)
  opened = parallel.first_before_others(
    lambda: sources.open_layout(spec.read(config))
  )
  config = setup.resolve(config, opened)
  names = sources.split_names(spec.read(config), opened)
  if config.early_stop and 'val' not in names:
    raise errors.InputError(
      'config.early_stop needs validation images: hold some back with '
      '--config.data.split.val_share=0.2, or set it to 0'
    )
  return config, opened


def final_evaluation(
  config: ml_collections.ConfigDict, opened: layout.Layout
) -> tuple[str, str]:
  """Returns the split that is scored at the end, and the checkpoint to use."""
  if config.data.split.folds:
    return 'val', 'latest'
  return sources.split_names(spec.read(config), opened)[-1], 'best'


def begin(job: Job, workdir: pathlib.Path, *, overwrite: bool) -> None:
  """Removes the old run if `overwrite` is set; saves the config and splits.

  Waits for all processes first, since one of them may refuse the run.
  """
  parallel.wait('ready')
  if parallel.is_first():
    workdir_lib.begin(workdir, job.config, job.final_split, overwrite=overwrite)
    if not job.saved_step:
      keys = {name: part.keys for name, part in job.dataset.splits.items()}
      splits.save(workdir, keys, job.dataset.folds)
    digests.save(workdir, job.dataset.images)
  parallel.wait('begin')

"""One run, from config to report: read `train_and_evaluate` top to bottom."""

import math
import pathlib

import jax
import ml_collections

from unet_jax import build, checkpoint, parallel
from unet_jax import config as config_lib
from unet_jax.data import sources
from unet_jax.evaluation import scores, trained
from unet_jax.training import logs, setup
from unet_jax.training import workdir as workdir_lib

LOG_EVERY = 10  # Steps.


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  init_from: str = '',
  overwrite: bool = False,
) -> None:
  """Trains, resuming where the workdir has a checkpoint, then tests the best.

  Args:
    config: as the files in configs/ give it.
    workdir: the run's folder; all that it writes lies there.
    init_from: another run's folder, for a warm start.
    overwrite: whether to remove the run that the workdir holds.

  Raises:
    InputError: before step 1, for what the user can mend.
  """
  config_lib.check(config)
  parallel.check_batch(config.batch_size)
  found = parallel.first_before_others(lambda: sources.open_layout(config))
  config = setup.resolve(config, found)
  workdir_lib.check(workdir, config, overwrite=overwrite)
  split = list(sources.split_keys(config, found)[0])[-1]  # Test, or instead.
  is_new = overwrite or not workdir_lib.has_checkpoint(workdir)
  if not is_new and workdir_lib.is_finished(workdir, config.total_steps, split):
    parallel.say(f'{workdir} is finished, at step {config.total_steps}')
    return
  other = (
    trained.load(pathlib.Path(init_from)) if init_from and is_new else None
  )
  dataset = sources.load(config, found)
  run = setup.make_run(config, dataset)
  state = run.init()
  # Nothing is removed before all that can be refused has been looked at.
  if parallel.is_first():
    workdir_lib.begin(workdir, config, overwrite=overwrite)
  parallel.wait('begin')

  has_val = 'val' in dataset.splits
  with checkpoint.make_manager(workdir, has_scores=has_val) as manager:
    setup.check_data(checkpoint.latest_meta(manager), dataset)
    abstract = parallel.abstract(setup.to_save(state))
    first, trees = checkpoint.restore_latest(manager, abstract)
    if first:
      state = setup.with_saved(state, trees)
    elif other:
      state, plan = setup.start_from(state, other)
      parallel.say(plan)
      workdir_lib.write_plan(workdir, plan)
    state = parallel.replicate(state)
    parallel.say(setup.describe(config, dataset, run, state))
    if first:
      parallel.say(f'resumed from step {first}')
    with logs.Log(workdir, step=first, total_steps=config.total_steps) as log:
      train(config, dataset, run, state, first, manager, log)
      manager.wait_until_finished()
      best = trained.load(workdir)
      row, table = trained.evaluate(best, dataset.splits[split], workdir, split)
      log.write(best.step, split, row)
  parallel.say(table)
  parallel.say(f'checkpoints, metrics and TensorBoard events are in {workdir}')


def train(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: setup.Run,
  state: setup.step_lib.TrainState,
  first: int,
  manager: checkpoint.ocp.CheckpointManager,
  log: logs.Log,
) -> None:
  """Trains from the step after `first` to the last, evaluating and saving."""
  batches = build.make_batches(
    config,
    dataset,
    first_step=first + 1,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  placed = parallel.place_ahead(batches)
  watch = logs.Stopwatch()
  for step in range(first + 1, config.total_steps + 1):
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      state, metrics = run.train_step(state, next(placed))
    watch.add(config.batch_size)
    is_eval = step % config.eval_every == 0 or step == config.total_steps
    if step % LOG_EVERY == 0 or is_eval:
      metrics = jax.device_get(metrics)  # Waits for the devices.
      log.write(step, 'train', metrics | {'images_per_second': watch.read()})
      check_finite(metrics['loss'], step)
      watch.start()
    score = None
    if is_eval and 'val' in dataset.splits:
      score = validate(config, dataset.splits['val'], run, state, step, log)
    if is_eval or step % config.save_every == 0:
      checkpoint.save(manager, step, setup.to_save(state), run.meta, score)
    if is_eval or step == first + 1:
      jax.block_until_ready(state)  # Step 1 compiles: it doesn't count.
      watch.start()


def check_finite(loss: float, step: int) -> None:
  """Ends a run whose loss is lost, before it is saved over a good one."""
  if not math.isfinite(loss):
    raise config_lib.InputError(
      f'the loss is {loss} at step {step}; lower config.optim.lr, or set '
      'config.precision=float32, and start over with --overwrite'
    )


def validate(config, val, run: setup.Run, state, step: int, log) -> float:
  """Logs scores and pictures of the averaged weights; returns the score."""
  counted = trained.count_split(
    run.count_step,
    state.averaged,
    val,
    max_pixels=config.batch_size * config.image_size**2,
  )
  row = scores.row(counted, run.task.planes, run.task.num_foreground)
  log.write(step, 'val', row)
  panels = trained.draw(
    run.predict_step, state.averaged, val, run.task.num_foreground
  )
  for i, panel in enumerate(panels):
    log.picture(step, f'val/{i}', panel)
  return scores.score(counted, run.task.num_foreground)

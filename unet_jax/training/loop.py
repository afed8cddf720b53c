"""One run, from config to report: read `train_and_evaluate` top to bottom."""

import functools
import pathlib
from typing import NamedTuple

import jax
import ml_collections

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import layout, pipeline, sources, splits
from unet_jax.evaluation import predictor, scores, trained
from unet_jax.training import logs, parts, setup, trace, warm_start
from unet_jax.training import monitor as monitor_lib
from unet_jax.training import step as step_lib
from unet_jax.training import workdir as workdir_lib
from unet_jax.training.transfer import planning

LOG_EVERY = 10  # Steps.


class Job(NamedTuple):
  """A run that may begin: everything that can be refused has been checked.

  Attributes:
    config: with the data's absolute root and its classes.
    dataset: its splits, read once.
    run: the model, and what trains and evaluates it.
    transfer: what a warm start takes from another run; None without one.
    final_split: split that is scored at the end.
    final_checkpoint: `best` or `latest`, the weights that are scored.
  """

  config: ml_collections.ConfigDict
  dataset: sources.Dataset
  run: setup.Run
  transfer: warm_start.WarmStart | None
  final_split: str
  final_checkpoint: str


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  init_from: str = '',
  overwrite: bool = False,
) -> str:
  """Trains, resuming if the workdir has a checkpoint, then scores the best.

  In cross-validation the last weights are scored, on the fold that is left out:
  that fold must not choose the weights.

  Args:
    config: as the files in configs/ return it.
    workdir: the run's folder; a run writes nowhere else.
    init_from: another run's folder, or one of its checkpoints' folders, for a
      warm start.
    overwrite: whether to remove the run that the workdir holds.

  Returns:
    The collapse in which the run ended, its classes and remedy; '' if it is
    well.

  Raises:
    InputError: before step 1, for what the user can mend; later, if the loss
      has diverged or too many steps were skipped.
  """
  job = prepare(config, workdir, init_from=init_from, overwrite=overwrite)
  if job is None:
    return recall_faults(workdir)
  config, dataset, run = job.config, job.dataset, job.run
  state = run.init()
  begin(config, workdir, dataset, overwrite=overwrite)
  has_val = 'val' in dataset.splits
  with checkpoint.make_manager(workdir, has_scores=has_val) as manager:
    steps_done, state, monitor = restore(manager, dataset, state)
    if job.transfer:
      state = warm_start.start(config, dataset, run, state, job.transfer)
      workdir_lib.write_plan(workdir, planning.describe(job.transfer.plan))
    state = parallel.replicate(state)
    parallel.say(setup.describe(config, dataset, run, state))
    if steps_done:
      parallel.say(f'resumed from step {steps_done}')
    total_steps = config.total_steps
    with logs.Log(workdir, step=steps_done, total_steps=total_steps) as log:
      train(
        config,
        dataset,
        run,
        state,
        steps_done=steps_done,
        monitor=monitor,
        manager=manager,
        log=log,
      )
      manager.wait_until_finished()
      if monitor.should_stop(config.early_stop):
        parallel.say(monitor.why_stopped())
        workdir_lib.stop(workdir, monitor.why_stopped())
      table = evaluate(job, workdir, log)
  parallel.say(table)
  parallel.say(f'checkpoints, metrics and TensorBoard events are in {workdir}')
  return monitor.faults(dataset.classes)


def prepare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  init_from: str,
  overwrite: bool,
) -> Job | None:
  """Checks all that can be refused, reads the data, and builds the run.

  Removes nothing. The arguments are those of `train_and_evaluate`.

  Returns:
    The job, or None if the workdir's run is finished.

  Raises:
    InputError: for what the user can mend.
  """
  config, opened = open_data(config)
  workdir_lib.check(workdir, config, overwrite=overwrite)
  final_split, final_checkpoint = final_evaluation(config, opened)
  saved_step = 0 if overwrite else workdir_lib.last_step(workdir)
  if saved_step and workdir_lib.is_finished(
    workdir, config.total_steps, final_split
  ):
    parallel.say(
      f'{workdir} is finished, at step {saved_step}; --overwrite starts over'
    )
    return None
  if saved_step:
    transfer, saved_splits = None, splits.load(workdir)
  else:
    transfer = warm_start.prepare(config, opened, init_from)
    saved_splits = {}
  dataset = sources.load(config, opened, saved_splits)
  return Job(
    config=config,
    dataset=dataset,
    run=setup.make_run(config, dataset.stats),
    transfer=transfer,
    final_split=final_split,
    final_checkpoint=final_checkpoint,
  )


def open_data(
  config: ml_collections.ConfigDict,
) -> tuple[ml_collections.ConfigDict, layout.Layout]:
  """Checks the config, finds the data, and puts its root and classes into it.

  Raises:
    InputError: for all that is plain before an image is read.
  """
  config_lib.check(config)
  parts.check(config.transfer, config.model.depth)
  parallel.check_batch(config.batch_size, config.optim.accumulate)
  opened = parallel.first_before_others(lambda: sources.open_layout(config))
  config = setup.resolve(config, opened)
  if config.early_stop and 'val' not in sources.split_names(config, opened):
    raise errors.InputError(
      'config.early_stop needs validation images: hold some back with '
      '--config.data.val_share=0.2, or set it to 0'
    )
  return config, opened


def final_evaluation(
  config: ml_collections.ConfigDict, opened: layout.Layout
) -> tuple[str, str]:
  """Returns the split that is scored at the end, and by which checkpoint."""
  if config.data.folds:
    return 'val', 'latest'
  return sources.split_names(config, opened)[-1], 'best'


def begin(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  dataset: sources.Dataset,
  *,
  overwrite: bool,
) -> None:
  """Readies the run's folder; from here on it is this run's."""
  if parallel.is_first():
    workdir_lib.begin(workdir, config, overwrite=overwrite)
    keys = {name: part.keys for name, part in dataset.splits.items()}
    splits.save(workdir, keys, dataset.folds)
  parallel.wait('begin')


def restore(
  manager: checkpoint.ocp.CheckpointManager,
  dataset: sources.Dataset,
  state: step_lib.TrainState,
) -> tuple[int, step_lib.TrainState, monitor_lib.Monitor]:
  """Restores the newest checkpoint that can be read.

  Returns:
    The number of finished steps, the state after them, and the monitor; without
    a checkpoint 0, `state` itself, and a new monitor.

  Raises:
    InputError: if the run began with other images, or nothing can be read.
  """
  setup.check_data(checkpoint.latest_meta(manager), dataset)
  abstract = parallel.abstract(setup.to_save(state))
  steps_done, trees = checkpoint.restore_latest(manager, abstract)
  if not steps_done:
    return 0, state, monitor_lib.Monitor()
  meta = checkpoint.restore_meta(manager, steps_done)
  return steps_done, setup.with_saved(state, trees), monitor_lib.restore(meta)


def recall_faults(workdir: pathlib.Path) -> str:
  """Returns what `train_and_evaluate` did at the end of a finished run."""
  opened = checkpoint.make_manager(workdir, has_scores=False, read_only=True)
  with opened as manager:
    meta = checkpoint.latest_meta(manager)
  return monitor_lib.restore(meta).faults(meta.get('classes', ()))


def train(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: setup.Run,
  state: step_lib.TrainState,
  *,
  steps_done: int,
  monitor: monitor_lib.Monitor,
  manager: checkpoint.ocp.CheckpointManager,
  log: logs.Log,
) -> None:
  """Trains from step `steps_done` + 1 to the last, evaluating and saving.

  Raises:
    InputError: if the run is lost; no checkpoint is saved after that.
  """
  meta = setup.make_meta(config, dataset)
  clock, recent = logs.Stopwatch(), []
  batches = build.make_batches(config, dataset, first_step=steps_done + 1)
  batches = clock.timed(parallel.place_ahead(batches))

  def locate(failed_step: int) -> str:  # `state` is the loop's, as it is then.
    return trace_again(config, dataset, run, state, failed_step)

  review = functools.partial(
    monitor.review,
    classes=dataset.classes,
    total_steps=config.total_steps,
    locate=locate,
  )
  for step in range(steps_done + 1, config.total_steps + 1):
    if monitor.should_stop(config.early_stop):
      break
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      state, metrics = run.train_step(state, next(batches))
    clock.add(config.batch_size)
    recent.append({key: metrics[key] for key in monitor_lib.WATCHED})
    is_eval = step % config.eval_every == 0 or step == config.total_steps
    is_saved = is_eval or step % config.save_every == 0
    if step % LOG_EVERY == 0 or is_saved:
      metrics, recent = jax.device_get((metrics, recent))  # Waits for devices.
      del metrics['planes']
      log.write(step, 'train', metrics | clock.read())
      for line in review(step, metrics, recent):
        log.say(step, line)
      monitor.check(step, metrics, config.total_steps)
      recent = []
      clock.start()
    score = None
    if is_eval and 'val' in dataset.splits:
      score = validate(run, dataset.splits['val'], state, step, log)
      monitor.score(score)
    if is_saved:
      trees = setup.to_save(state)
      checkpoint.save(manager, step, trees, meta | monitor.to_meta(), score)
    if is_eval or step == steps_done + 1:
      jax.block_until_ready(state)  # Compilation isn't timed.
      clock.start()


def trace_again(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: setup.Run,
  state: step_lib.TrainState,
  step: int,
) -> str:
  """Runs a step's batch again; says where it fails, and for which images."""
  batch = next(build.make_batches(config, dataset, first_step=step))
  traced = jax.device_get(run.trace_step(state, parallel.place_batch(batch)))
  names = pipeline.names(
    dataset.splits['train'],
    table=dataset.places,
    foreground_share=config.data.foreground_share,
    seed=config.seed,
    positions=traced['index'],
  )
  return f'in step {step}, {trace.explain(traced, names)}'


def validate(
  run: setup.Run,
  source: sources.Source,
  state: step_lib.TrainState,
  step: int,
  log: logs.Log,
) -> float:
  """Logs scores and pictures of the averaged weights; returns the score."""
  result = predictor.score_split(run.predictor, state.averaged, source)
  log.write(step, 'val', result.losses | result.row)
  log.histograms(step, state.params)
  panels = predictor.draw(run.predictor, state.averaged, source)
  for i, panel in enumerate(panels):
    log.picture(step, f'val/{i}', panel)
  return scores.score(result.counts, run.predictor.classes.num_foreground)


def evaluate(job: Job, workdir: pathlib.Path, log: logs.Log) -> str:
  """Scores the final checkpoint; writes its report, and returns the table."""
  model = trained.load(workdir, job.final_checkpoint)
  # The run's own predictor has compiled already.
  model = model._replace(predictor=job.run.predictor)
  split = job.final_split
  source = job.dataset.splits[split]
  row, table = trained.evaluate(model, source, workdir, split)
  log.write(model.step, split, row)
  return table

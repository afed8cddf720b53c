"""One run, from config to report: read `train_and_evaluate` top to bottom."""

import dataclasses
import pathlib

import jax
import ml_collections

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import layout, pipeline, sources, spec, splits
from unet_jax.evaluation import scores, trained
from unet_jax.training import logs, parts, setup, trace, warm_start
from unet_jax.training import monitor as watch_lib
from unet_jax.training import step as step_lib
from unet_jax.training import workdir as workdir_lib
from unet_jax.training.transfer import planning

LOG_EVERY = 10  # Steps.


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  init_from: str = '',
  overwrite: bool = False,
) -> str:
  """Trains, resuming where the workdir has a checkpoint, then tests the best.

  In cross-validation the fold that is left out is what it is tested on, and
  picks nothing: its last weights are scored.

  Args:
    config: as the files in configs/ give it.
    workdir: the run's folder; all that it writes lies there.
    init_from: another run's folder, or that of a checkpoint in it, for a warm
      start.
    overwrite: whether to remove the run that the workdir holds.

  Returns:
    The collapse it ended in, its classes and remedy; '' if all is well.

  Raises:
    InputError: before step 1, for what the user can mend; later, if steps are
      lost.
  """
  config, found = open_data(config)
  workdir_lib.check(workdir, config, overwrite=overwrite)
  split, which = last_evaluation(config, found)
  last = 0 if overwrite else workdir_lib.last_step(workdir)
  if last and workdir_lib.is_finished(workdir, config.total_steps, split):
    parallel.say(
      f'{workdir} is finished, at step {last}; --overwrite starts over'
    )
    return recall(workdir).faults(found.classes)
  warm = None if last else warm_start.prepare(config, found, init_from)
  saved = splits.load(workdir) if last else {}
  dataset = sources.load(spec.read(config), found, saved)
  run = setup.make_run(config, dataset)
  state = run.init()
  # Nothing is removed before all that can be refused has been looked at.
  begin(config, workdir, dataset, overwrite=overwrite)
  has_val = 'val' in dataset.splits
  with checkpoint.make_manager(workdir, has_scores=has_val) as manager:
    first, state, watch = restore(manager, dataset, state)
    if warm:
      state = warm_start.start(config, dataset, run, state, warm)
      workdir_lib.write_plan(workdir, planning.describe(warm.plan))
    state = parallel.replicate(state)
    parallel.say(setup.describe(config, dataset, run, state))
    if first:
      parallel.say(f'resumed from step {first}')
    with logs.Log(workdir, step=first, total_steps=config.total_steps) as log:
      train(config, dataset, run, state, first, watch, manager, log)
      manager.wait_until_finished()
      if is_stopped(config, watch):
        stop(workdir, watch)
      best = trained.load(workdir, which)
      row, table = trained.evaluate(best, dataset.splits[split], workdir, split)
      log.write(best.step, split, row)
  parallel.say(table)
  parallel.say(f'checkpoints, metrics and TensorBoard events are in {workdir}')
  return watch.faults(dataset.classes)


def open_data(
  config: ml_collections.ConfigDict,
) -> tuple[ml_collections.ConfigDict, layout.Layout]:
  """Checks the config, finds the data, and puts what it found in the config.

  Raises:
    InputError: for all that is plain before an image is read.
  """
  config_lib.check(config)
  parts.check(config.transfer, config.model.depth)
  parallel.check_batch(config.batch_size, config.optim.accumulate)
  found = parallel.first_before_others(
    lambda: sources.open_layout(spec.read(config))
  )
  config = setup.resolve(config, found)
  names = sources.split_names(spec.read(config), found)
  if config.early_stop and 'val' not in names:
    raise errors.InputError(
      'config.early_stop needs validation images: hold some back with '
      '--config.data.val_share=0.2, or set it to 0'
    )
  return config, found


def last_evaluation(
  config: ml_collections.ConfigDict, found: layout.Layout
) -> tuple[str, str]:
  """Returns which split is scored when all is done, by which checkpoint."""
  if config.data.folds:
    return 'val', 'latest'
  return sources.split_names(spec.read(config), found)[-1], 'best'


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
) -> tuple[int, step_lib.TrainState, watch_lib.Watch]:
  """Returns the step to go on from, with what was known then.

  Without a checkpoint that is step 0, the state as it is, and nothing.
  """
  setup.check_data(checkpoint.latest_meta(manager), dataset)
  abstract = parallel.abstract(setup.to_save(state))
  step, trees = checkpoint.restore_latest(manager, abstract)
  if not step:
    return 0, state, watch_lib.Watch()
  known = checkpoint.restore_meta(manager, step)['watch']
  return step, setup.with_saved(state, trees), watch_lib.Watch(**known)


def recall(workdir: pathlib.Path) -> watch_lib.Watch:
  """Returns what a finished run knew at its end."""
  opened = checkpoint.make_manager(workdir, has_scores=False, read_only=True)
  with opened as manager:
    return watch_lib.Watch(**checkpoint.latest_meta(manager).get('watch', {}))


def train(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: setup.Run,
  state: step_lib.TrainState,
  first: int,
  watch: watch_lib.Watch,
  manager: checkpoint.ocp.CheckpointManager,
  log: logs.Log,
) -> None:
  """Trains from the step after `first` to the last, evaluating and saving."""
  batches = build.make_batches(config, dataset, first_step=first + 1)
  batches = parallel.place_ahead(batches)
  clock, seen = logs.Stopwatch(), []
  for step in range(first + 1, config.total_steps + 1):
    if is_stopped(config, watch):
      break
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      state, metrics = run.train_step(state, clock.wait_for(batches))
    clock.add(config.batch_size)
    seen.append({key: metrics[key] for key in ('loss', 'skipped', 'planes')})
    is_eval = step % config.eval_every == 0 or step == config.total_steps
    is_saved = is_eval or step % config.save_every == 0
    if step % LOG_EVERY == 0 or is_saved:
      metrics, seen = jax.device_get((metrics, seen))  # Waits for the devices.
      del metrics['planes']
      log.write(step, 'train', metrics | clock.read())
      look(config, dataset, run, state, step, metrics, seen, watch, log)
      seen = []
      clock.start()
    score = None
    if is_eval and 'val' in dataset.splits:
      score = validate(config, dataset.splits['val'], run, state, step, log)
      watch.score(score)
    if is_saved:
      meta = run.meta | {'watch': dataclasses.asdict(watch)}
      checkpoint.save(manager, step, setup.to_save(state), meta, score)
    if is_eval or step == first + 1:
      jax.block_until_ready(state)  # Step 1 compiles: it doesn't count.
      clock.start()


def is_stopped(config: ml_collections.ConfigDict, watch) -> bool:
  """Tells whether the score has been too long without a new best."""
  return 0 < config.early_stop <= watch.num_worse


def stop(workdir: pathlib.Path, watch: watch_lib.Watch) -> None:
  """Says why the run ends early, and notes it in its folder."""
  why = (
    f'stopped early: {watch.num_worse} evaluations without a new best of the '
    f'smoothed macro F1, {watch.best:.4f}'
  )
  parallel.say(why)
  workdir_lib.stop(workdir, why)


def look(config, dataset, run, state, step, metrics, seen, watch, log) -> None:
  """Judges the steps since the last look, and ends a run that is lost.

  Raises:
    InputError: before anything is saved over a good checkpoint.
  """
  for entry in seen:
    watch.add(**entry)
  before = step - len(seen)
  skipped = [before + i for i, entry in enumerate(seen, 1) if entry['skipped']]
  if skipped:
    # Of steps in a row the first had the weights as they still are.
    bad = step - watch.num_skipped + 1 if watch.num_skipped else skipped[-1]
    if bad > before:
      watch.where = locate(config, dataset, run, state, bad)
  told = watch.tell_skipped(len(skipped), len(seen)) if skipped else []
  told += watch.tell_still(metrics, config.total_steps)
  for line in [*told, *watch.judge(dataset.classes)]:
    log.say(step, line)
  if why := watch_lib.end_of(watch, metrics, step, config.total_steps):
    raise errors.InputError(why)


def locate(config, dataset, run: setup.Run, state, step: int) -> str:
  """Runs a step's batch again, and says where and for which images it fails."""
  batch = next(build.make_batches(config, dataset, first_step=step))
  found = jax.device_get(run.trace_step(state, parallel.place_batch(batch)))
  names = pipeline.names(
    dataset.splits['train'],
    table=dataset.places,
    foreground_share=config.data.foreground_share,
    seed=config.seed,
    positions=found['index'],
  )
  return f'in step {step}, {trace.explain(found, names)}'


def validate(config, val, run: setup.Run, state, step: int, log) -> float:
  """Logs scores and pictures of the averaged weights; returns the score."""
  counted, losses = trained.count_split(
    run.count_step,
    state.averaged,
    val,
    max_pixels=config.batch_size * config.image_size**2,
  )
  row = scores.row(counted, run.task.planes, run.task.num_foreground)
  log.write(step, 'val', losses | row)
  log.histograms(step, state.params)
  panels = trained.draw(run.predict_step, state.averaged, val, run.task)
  for i, panel in enumerate(panels):
    log.picture(step, f'val/{i}', panel)
  return scores.score(counted, run.task.num_foreground)

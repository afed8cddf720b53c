"""A run from config to report: read `train_and_evaluate` top to bottom."""

import functools
import pathlib

import jax
import ml_collections

from unet_jax import checkpoint, parallel, preemption
from unet_jax.data import sources
from unet_jax.evaluation import (
  evaluating,
  panels,
  predictor,
  scores,
  trained,
)
from unet_jax.training import (
  feed,
  journal,
  logs,
  memory,
  resume,
  setup,
  trace,
  warm_start,
)
from unet_jax.training import job as job_lib
from unet_jax.training import monitor as monitor_lib
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
  """Trains, or resumes from the workdir's checkpoint; then scores the best.

  Cross-validation scores the last weights on the held-out fold, because that
  fold must not select the weights.

  Args:
    config: a config as the files in configs/ return it.
    workdir: folder of the run, the only folder that the run writes to.
    init_from: folder of another run, or of one of its checkpoints, for a warm
      start.
    overwrite: whether to remove the run that the workdir holds.

  Returns:
    The collapse in which the run ended, with its classes and remedy; '' if no
    class collapsed.

  Raises:
    InputError: before step 1, for an error that the user can fix; later, if the
      loss diverged, too many steps were skipped, or a checkpoint cannot be
      written.
    Preempted: a signal asked for the end of the run, and it is saved.
  """
  with workdir_lib.hold(workdir), workdir_lib.naming_disk_faults(workdir):
    job = job_lib.prepare(
      config, workdir, init_from=init_from, overwrite=overwrite
    )
    if job is None:
      return resume.recall_faults(workdir)
    return carry_out(job, workdir, overwrite=overwrite)


def carry_out(
  job: job_lib.Job, workdir: pathlib.Path, *, overwrite: bool
) -> str:
  """Does what is left of a run; see `train_and_evaluate`."""
  config, dataset, run = job.config, job.dataset, job.run
  text = setup.describe(config, dataset, run)
  parallel.say(text)
  if not job.has_ended:
    run = memory.compile_step(run, config, dataset)
  state = parallel.on_host(run.init)
  job_lib.begin(job, workdir, overwrite=overwrite)
  logs.record(workdir, text)
  has_val = 'val' in dataset.splits
  with checkpoint.make_manager(workdir, has_scores=has_val) as manager:
    steps_done, state, monitor = resume.restore(
      manager, state, config.total_steps
    )
    if job.transfer:
      state = warm_start.start(config, dataset, run, state, job.transfer)
      workdir_lib.write_plan(workdir, planning.describe(job.transfer.plan))
    state = parallel.replicate(state)
    if steps_done:
      logs.say(workdir, f'resumed from step {steps_done}')
    total_steps = config.total_steps
    with logs.Log(workdir, step=steps_done, total_steps=total_steps) as log:
      facts = setup.facts(config, dataset, run)
      facts['versions'] = resume.versions()
      with (
        journal.session(workdir, steps_done, **facts),
        preemption.NOTICE.training(steps_done),
      ):
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
        logs.say(workdir, monitor.why_stopped())
        journal.add(workdir, 'note', monitor.num_steps, monitor.why_stopped())
        workdir_lib.stop(workdir, monitor.why_stopped())
      table = evaluate(job, workdir, log)
  logs.say(workdir, table)
  parallel.say(f'checkpoints, metrics and TensorBoard events are in {workdir}')
  return monitor.faults(dataset.classes, config.loss)


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
  """Trains from step `steps_done` + 1 to the last; evaluates and saves.

  Ends earlier, with a save, at the step that a notice of preemption names.

  Raises:
    InputError: if the run must end early; no checkpoint is saved after that.
  """
  meta = resume.make_meta(config, dataset)
  clock, recent = logs.Stopwatch(), []
  batches = feed.batches(config, dataset, run.input, first_step=steps_done + 1)
  batches = clock.timed(batches)

  def locate(failed_step: int) -> str:  # Reads the loop's current `state`.
    return trace.locate(
      run.trace_step, state, failed_step, config=config, dataset=dataset
    )

  review = functools.partial(
    monitor.review,
    classes=dataset.classes,
    total_steps=config.total_steps,
    lr=config.optim.lr,
    loss=config.loss,
    locate=locate,
  )
  for step in range(steps_done + 1, config.total_steps + 1):
    if monitor.should_stop(config.early_stop):
      break
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      state, metrics = run.train_step(state, next(batches))
    clock.add(config.batch_size)
    recent.append({key: metrics[key] for key in monitor_lib.WATCHED})
    is_preempted = preemption.NOTICE.reached(step)
    is_eval = step % config.eval_every == 0 or step == config.total_steps
    is_saved = is_eval or is_preempted or step % config.save_every == 0
    if step % LOG_EVERY == 0 or is_saved:
      # Blocks until the devices have finished the step.
      metrics, recent = jax.device_get((metrics, recent))
      del metrics['planes']
      log.write(step, 'train', metrics | clock.read())
      if lines := review(step, metrics, recent):
        log.warn(step, '\n'.join(lines))
      monitor.check(step, metrics, config.total_steps, config.optim.lr)
      recent = []
      clock.start()
    score = None
    if is_eval and 'val' in dataset.splits:
      score = validate(run, dataset.splits['val'], state, step, log)
      monitor.score(score)
    if is_saved:
      trees = resume.to_save(state)
      checkpoint.save(manager, step, trees, meta | monitor.to_meta(), score)
    if is_preempted:
      break
    if is_eval or step == steps_done + 1:
      # Excludes compilation and evaluation from the measured speed.
      jax.block_until_ready(state)
      clock.start()


def validate(
  run: setup.Run,
  source: sources.Source,
  state: step_lib.TrainState,
  step: int,
  log: logs.Log,
) -> float:
  """Logs the scores of the averaged weights; returns the macro F1."""
  result = predictor.score_split(run.predictor, state.averaged, source)
  log.write(step, 'val', result.losses | result.row)
  log.histograms(step, state.params)
  drawn = panels.draw(run.predictor, state.averaged, source)
  for i, panel in enumerate(drawn):
    log.picture(step, f'val/{i}', panel)
  return scores.score(result.counts, run.predictor.classes.num_foreground)


def evaluate(job: job_lib.Job, workdir: pathlib.Path, log: logs.Log) -> str:
  """Scores the final checkpoint, writes its report and returns its table."""
  model = trained.load(workdir, job.final_checkpoint)
  # The predictor of the run is already compiled.
  model = model._replace(predictor=job.run.predictor)
  split = job.final_split
  source = job.dataset.splits[split]
  row, table = evaluating.evaluate(model, source, workdir, split)
  log.write(model.step, split, row)
  return table

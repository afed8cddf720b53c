"""Builds the functions of a run from its config and data statistics."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import traverse_util

from unet_jax import build, compiler, parallel
from unet_jax.data import layout, sources
from unet_jax.data.checks import finding
from unet_jax.data.checks import run as run_checks
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.evaluation import tiles
from unet_jax.nn import objective
from unet_jax.nn.native import native
from unet_jax.training import optimizer, parts, trace
from unet_jax.training import step as step_lib


class Run(NamedTuple):
  """The functions of a run, mapped over the devices.

  Attributes:
    predictor: the model and its evaluation; `count` computes losses too.
    init: () -> the state before step 1.
    train_step: (state, batch) -> (state, metrics), as step.train_step, mapped.
    trace_step: (state, batch) -> dict of booleans, as trace.trace_step, mapped.
    inputs_fn: (key, batch) of one device -> preprocess.Inputs.
    input: where windows are cut, `host` or `device`; see feed.batches.
  """

  predictor: predictor_lib.Predictor
  init: Callable[[], step_lib.TrainState]
  train_step: jax.stages.Wrapped
  trace_step: jax.stages.Wrapped
  inputs_fn: Callable
  input: str = 'host'


def resolve(
  config: ml_collections.ConfigDict, opened: layout.Layout
) -> ml_collections.ConfigDict:
  """Returns the config with the absolute root and the classes of the data."""
  resolved = config.copy_and_resolve_references()
  resolved.data.root, resolved.data.classes = opened.root, opened.classes
  return resolved


def choose_window(
  config: ml_collections.ConfigDict, dataset: sources.Dataset, meta: dict
) -> ml_collections.ConfigDict:
  """Returns the config with the window of the run.

  Args:
    config: config of the run, whose window may be 0.
    dataset: splits of the data.
    meta: metadata of the run's checkpoint; {} without a checkpoint.
  """
  resolved = config.copy_and_resolve_references()
  if not config.window:
    saved = meta.get('config', {}).get('window', 0)
    chosen = tiles.choose(dataset.longest, config.model.depth)
    resolved.window = saved or chosen
  return resolved


def make_run(config: ml_collections.ConfigDict, stats: sources.Stats) -> Run:
  """Builds the model and its functions, mapped over `parallel.AXIS`."""
  classes = build.make_classes(config, stats.classes)
  loss_of = objective.make_loss(
    exclusive=classes.exclusive,
    has_background=len(classes.planes) > classes.num_foreground,
    pixels=stats.pixels,
    **config.loss,
  )
  predictor = predictor_lib.make(
    *(config, classes, stats.mean, stats.std),
    limits=stats.limits,
    loss_of=loss_of,
  )
  model = predictor.model
  inputs_of: dict[str, Any] = dict(
    augment_fn=build.make_augment(config, stats.limits),
    preprocess_fn=build.make_preprocess(classes, stats.mean, stats.std),
  )
  stages = parts.stages(
    config.transfer.freeze,
    config.transfer.unfreeze,
    config.optim.schedule_steps or config.total_steps,
  )
  schedule, tx = make_optimizer(config, stages)
  shared: dict[str, Any] = dict(
    **inputs_of, loss_of=loss_of, stages=stages, axis_name=parallel.AXIS
  )
  train_step = functools.partial(
    step_lib.train_step,
    **shared,
    schedule=schedule,
    ema=config.optim.ema,
    exclusive=classes.exclusive,
    accumulate=config.optim.accumulate,
  )
  traced = model.clone(remat=0) if config.model.remat else model
  trace_step = functools.partial(
    trace.trace_step, **shared, apply_fn=traced.apply
  )
  return Run(
    predictor=predictor,
    init=make_init(config, model, tx, channels=len(stats.mean)),
    train_step=parallel.map_step(train_step, donate=True),
    trace_step=parallel.map_step(trace_step),
    inputs_fn=functools.partial(step_lib.make_inputs, **inputs_of),
  )


def make_optimizer(
  config: ml_collections.ConfigDict, stages: parts.Stages
) -> tuple[optax.Schedule, optax.GradientTransformation]:
  """Builds the learning-rate schedule, and the optimizer that follows it."""
  schedule = optimizer.make_schedule(
    config.optim.schedule,
    lr=config.optim.lr,
    warmup=config.optim.warmup,
    total_steps=config.total_steps,
    schedule_steps=config.optim.schedule_steps,
  )
  tx = optimizer.make_optimizer(
    schedule,
    name=config.optim.name,
    weight_decay=config.optim.weight_decay,
    clip=config.optim.clip,
    stages=stages,
    lr_decay=config.transfer.lr_decay,
    depth=config.model.depth,
  )
  return schedule, tx


def make_init(
  config: ml_collections.ConfigDict,
  model: build.Model,
  tx: optax.GradientTransformation,
  *,
  channels: int,
) -> Callable[[], step_lib.TrainState]:
  """Builds the function that initialises the state before step 1."""

  @jax.jit
  def init() -> step_lib.TrainState:
    # The default, threefry, takes XLA:CPU two seconds per parameter to compile.
    rng_params = jax.random.key(config.seed, impl='rbg')
    side = 2**config.model.depth
    variables = model.init(rng_params, jnp.zeros((1, side, side, channels)))
    rng = jax.random.key(config.seed)
    return step_lib.init_state(model.apply, variables, tx, rng)

  return init


def facts(
  config: ml_collections.ConfigDict, dataset: sources.Dataset, run: Run
) -> dict[str, Any]:
  """Returns on what a run trains, for its journal."""
  num_train = len(dataset.splits['train'])
  length = run_checks.length(config.total_steps, config.batch_size, num_train)
  model = run.predictor.model
  precision = jnp.dtype(model.dtype).name
  return {
    'devices': parallel.describe_devices(),
    'precision': f'{precision}, convolutions: {model.engine}',
    'images': ', '.join(f'{k} {len(v)}' for k, v in dataset.splits.items()),
    'notes': [*dataset.notes, *finding.notes(length)],
  }


def describe(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: Run,
) -> str:
  """Describes devices, data, classes, model and steps, one line each."""
  params = jax.eval_shape(run.init).params
  num_params = sum(x.size for x in jax.tree.leaves(params))
  num_train = len(dataset.splits['train'])
  num_frozen = sum(
    x.size
    for path, x in traverse_util.flatten_dict(params, sep='/').items()
    if parts.is_in(path, config.transfer.freeze)
  )
  known = facts(config, dataset, run)
  lines = [
    f'devices: {known["devices"]}',
    f'precision: {known["precision"]}',
    *describe_problems(config, run),
    f'data: {config.data.source} in {dataset.root}: {known["images"]} images',
    *(f'  {note}' for note in known['notes']),
    f'classes: {", ".join(run.predictor.classes.planes)} ({config.task})',
    *describe_samples(config, dataset),
    f'model: {config.model.name}, depth {config.model.depth}, '
    f'width {config.model.width}, {num_params:,} parameters'
    + (f', {num_frozen:,} of them frozen' if num_frozen else ''),
    f'steps: {config.total_steps} of {config.batch_size} images, '
    f'{num_train / config.batch_size:.3g} steps per epoch',
  ]
  return '\n'.join(lines)


def describe_problems(config: ml_collections.ConfigDict, run: Run) -> list[str]:
  """Returns why convolutions or compilation are slower than they could be."""
  is_rewritten = run.predictor.model.engine == 'rewritten'
  is_fallback = is_rewritten and config.engine == 'auto'
  problems = [native.problem() if is_fallback else '', compiler.problem()]
  return [problem for problem in problems if problem]


def describe_samples(config, dataset: sources.Dataset) -> list[str]:
  """Describes the share of each class in the crops; warns of tiny rotations."""
  share = config.data.foreground_share
  occurring = [
    f'{name} ({len(images)} images)'
    for name, images in zip(dataset.classes, dataset.places, strict=True)
    if images
  ]
  lines = []
  if share and occurring:
    lines.append(
      f'crops: {share:.3g} around a class, {share / len(occurring):.3g} each '
      f'for {", ".join(occurring)}; the others anywhere'
    )
  if 0 < config.augment.rotation_range < 1:
    lines.append(
      f'  config.augment.rotation_range is {config.augment.rotation_range} '
      'degrees, as in Keras: hardly a rotation'
    )
  return lines

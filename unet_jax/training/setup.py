"""What a run is made of, built from its config and data."""

import functools
import importlib.metadata
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import traverse_util

from unet_jax import build, errors, parallel
from unet_jax.data import layout, sources
from unet_jax.data.checks import finding
from unet_jax.data.checks import run as run_checks
from unet_jax.evaluation import counts
from unet_jax.nn import objective, unet
from unet_jax.nn.native import native
from unet_jax.training import optimizer, parts, trace
from unet_jax.training import step as step_lib

# All of TrainState that changes, and `averaged`, which is saved apart.
SAVED = ('step', 'params', 'opt_state', 'batch_stats', 'rng')


class Run(NamedTuple):
  """A run's functions, compiled at their first call, and its constants."""

  task: build.Task
  model: unet.UNet
  init: Callable[[], step_lib.TrainState]
  train_step: Callable
  trace_step: Callable  # Tells of a train_step that failed where it did.
  inputs_fn: Callable  # (key, batch) of one device -> preprocess.Inputs.
  count_step: Callable
  predict_step: Callable
  meta: dict  # JSON that goes into each checkpoint.


def resolve(
  config: ml_collections.ConfigDict, found: layout.Layout
) -> ml_collections.ConfigDict:
  """Returns the config with the data's absolute root and the classes found."""
  resolved = config.copy_and_resolve_references()
  resolved.data.root, resolved.data.classes = found.root, found.classes
  return resolved


def make_run(
  config: ml_collections.ConfigDict, dataset: sources.Dataset
) -> Run:
  """Builds the model and what runs it, for `parallel.AXIS`."""
  task = build.make_task(config, dataset.classes)
  model = build.make_model(config, task)
  moments = (dataset.mean, dataset.std)
  preprocess_fn = build.make_preprocess(task, *moments)
  inputs_of = dict(
    augment_fn=build.make_augment(config), preprocess_fn=preprocess_fn
  )
  loss_of = objective.make_loss(
    exclusive=task.exclusive,
    has_background=len(task.planes) > task.num_foreground,
    pixels=dataset.pixels,
    **config.loss,
  )
  stages = parts.stages(
    config.transfer.freeze, config.transfer.unfreeze, config.total_steps
  )
  schedule, tx = make_optimizer(config, stages)
  shared = dict(
    **inputs_of, loss_of=loss_of, stages=stages, axis_name=parallel.AXIS
  )
  train_step = functools.partial(
    step_lib.train_step,
    **shared,
    schedule=schedule,
    ema=config.optim.ema,
    exclusive=task.exclusive,
    accumulate=config.optim.accumulate,
  )
  traced = model.clone(remat=0) if config.model.remat else model
  trace_step = functools.partial(
    trace.trace_step, **shared, apply_fn=traced.apply
  )
  return Run(
    task=task,
    model=model,
    init=make_init(config, model, tx, channels=len(dataset.mean)),
    train_step=parallel.map_step(train_step, donate=True),
    trace_step=parallel.map_step(trace_step),
    inputs_fn=functools.partial(step_lib.make_inputs, **inputs_of),
    count_step=counts.make_count_step(model, task, preprocess_fn, loss_of),
    predict_step=counts.make_predict_step(model, task, *moments),
    meta=make_meta(config, dataset),
  )


def make_optimizer(
  config: ml_collections.ConfigDict, stages: parts.Stages
) -> tuple[optax.Schedule, optax.GradientTransformation]:
  """Binds the config to the learning rate and the optimizer that follows it."""
  schedule = optimizer.make_schedule(
    config.optim.schedule,
    lr=config.optim.lr,
    warmup=config.optim.warmup,
    total_steps=config.total_steps,
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
  model: unet.UNet,
  tx: optax.GradientTransformation,
  *,
  channels: int,
) -> Callable[[], step_lib.TrainState]:
  """Builds what draws the state before step 1."""

  @jax.jit
  def init() -> step_lib.TrainState:
    # Threefry takes XLA:CPU two seconds of compiling a parameter. The price:
    # another kind of device may draw other first weights for a seed.
    rng_params = jax.random.key(config.seed, impl='rbg')
    side = 2**config.model.depth
    variables = model.init(rng_params, jnp.zeros((1, side, side, channels)))
    rng = jax.random.key(config.seed)
    return step_lib.init_state(model.apply, variables, tx, rng)

  return init


def make_meta(
  config: ml_collections.ConfigDict, dataset: sources.Dataset
) -> dict:
  """Returns what a checkpoint says of its run, as JSON."""
  return {
    'config': json.loads(config.to_json()),
    'classes': dataset.classes,
    'mean': dataset.mean,
    'std': dataset.std,
    'splits': dataset.digests,
    'versions': versions(),
  }


def versions() -> dict[str, str]:
  """Returns the versions that a checkpoint depends on."""
  packages = ('unet_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {name: importlib.metadata.version(name) for name in packages}


def check_data(meta: dict, dataset: sources.Dataset) -> None:
  """Refuses to resume a run on other data than it began with.

  Args:
    meta: of its checkpoint; empty where there is none.
    dataset: as found now.

  Raises:
    InputError: naming what differs.
  """
  now = {
    'classes': list(dataset.classes),
    'splits': dataset.digests,
    'mean': list(dataset.mean),
    'std': list(dataset.std),
  }
  differing = [key for key in now if meta and meta[key] != now[key]]
  if differing:
    raise errors.InputError(
      f'{dataset.root}: the {" and ".join(differing)} of the images are not '
      'those this run began with; restore them, or start over with --overwrite'
    )


def to_save(state: step_lib.TrainState) -> dict[str, Any]:
  """Returns the state's arrays; evaluation needs `averaged` alone."""
  rest = {name: getattr(state, name) for name in SAVED}
  return {'state': rest, 'averaged': state.averaged}


def with_saved(
  state: step_lib.TrainState, trees: dict[str, Any]
) -> step_lib.TrainState:
  """Puts arrays that `to_save` gave back into a state."""
  return state.replace(**trees['state'], averaged=trees['averaged'])


def describe(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: Run,
  state: step_lib.TrainState,
) -> str:
  """Says, a line a subject, what will run on what."""
  num_params = sum(x.size for x in jax.tree.leaves(state.params))
  num_train = len(dataset.splits['train'])
  sizes = ', '.join(f'{k} {len(v)}' for k, v in dataset.splits.items())
  length = run_checks.length(config.total_steps, config.batch_size, num_train)
  num_frozen = sum(
    x.size
    for path, x in traverse_util.flatten_dict(state.params, sep='/').items()
    if parts.is_in(path, config.transfer.freeze)
  )
  is_fallback = run.model.engine == 'rewritten' and config.engine == 'auto'
  lines = [
    f'devices: {parallel.describe_devices()}',
    f'precision: {run.model.dtype.name}, convolutions: {run.model.engine}',
    *([native.problem()] if is_fallback else []),
    f'data: {config.data.source} in {dataset.root}: {sizes} images',
    *(f'  {note}' for note in (*dataset.notes, *finding.notes(length))),
    f'classes: {", ".join(run.task.planes)} ({config.task})',
    *describe_samples(config, dataset),
    f'model: {config.model.name}, depth {config.model.depth}, '
    f'width {config.model.width}, {num_params:,} parameters'
    + (f', {num_frozen:,} of them frozen' if num_frozen else ''),
    f'steps: {config.total_steps} of {config.batch_size} images, '
    f'{num_train / config.batch_size:.3g} steps per epoch',
  ]
  return '\n'.join(lines)


def describe_samples(config, dataset: sources.Dataset) -> list[str]:
  """Says what share of the crops each class gets, and what may surprise."""
  share = config.data.foreground_share
  named = list(zip(dataset.classes, dataset.places, strict=True))
  occurring = [f'{name} ({len(of)} images)' for name, of in named if of]
  lines = []
  if share and occurring:
    lines.append(
      f'crops: {share:.3g} about a class, {share / len(occurring):.3g} each of '
      f'{", ".join(occurring)}; the others anywhere'
    )
  if 0 < config.augment.rotation_range < 1:
    lines.append(
      f'  config.augment.rotation_range is {config.augment.rotation_range} '
      'degrees, as in Keras: hardly a rotation'
    )
  return lines

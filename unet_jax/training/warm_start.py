"""Starts a run from the weights of another run."""

import itertools
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from unet_jax import build, checkpoint, errors, parallel
from unet_jax.data import layout, reading, sources, spec, split_drawing
from unet_jax.evaluation import trained
from unet_jax.nn import norm
from unet_jax.training import parts, setup
from unet_jax.training import step as step_lib
from unet_jax.training.transfer import heads, planning

REESTIMATE = 32  # Number of batches; at most an epoch.


class WarmStart(NamedTuple):
  """The variables of another run, and the plan for taking them."""

  variables: dict
  plan: dict[str, planning.Leaf]


def prepare(
  config: ml_collections.ConfigDict, opened: layout.Layout, init_from: str
) -> WarmStart | None:
  """Plans a warm start and prints the plan; returns None if `init_from` is ''.

  Reads one image of the data, to learn its number of channels.

  Raises:
    InputError: if no kernel fits, or a part to freeze doesn't.
  """
  if not init_from:
    parts.check_cold(config.transfer)
    return None
  other = open_run(init_from)
  classes = build.make_classes(config, opened.classes)
  example = reading.make_reader(spec.read(config), opened)(
    split_drawing.pool(opened.keys)[0]
  )
  channels = example['image'].shape[-1]
  plan = planning.make_plan(
    trained.abstract_variables(build.make_model(config, classes), channels),
    other.variables,
    heads.map_head(classes, other.predictor.classes, config.transfer.classes),
    channels=(channels, len(other.predictor.mean)),
  )
  planning.check_frozen(plan, config.transfer.freeze)
  parallel.say(f'starts from {init_from}, step {other.step}')
  parallel.say(planning.summarise(plan))
  return WarmStart(other.variables, plan)


def start(
  config: ml_collections.ConfigDict,
  dataset: sources.Dataset,
  run: setup.Run,
  state: step_lib.TrainState,
  warm: WarmStart,
) -> step_lib.TrainState:
  """Puts the weights that the plan takes into the state before step 1."""
  variables = planning.apply(warm.plan, state.averaged, warm.variables)
  if config.transfer.batch_stats == 'reestimate':
    epoch = -(-len(dataset.splits['train']) // config.batch_size)
    batches = itertools.islice(
      build.make_batches(config, dataset), min(epoch, REESTIMATE)
    )
    variables['batch_stats'] = reestimate(
      run.predictor.model.apply, variables, state.rng, run.inputs_fn, batches
    )
  return state.replace(**variables, averaged=jax.tree.map(jnp.copy, variables))


def open_run(name: str) -> trained.Trained:
  """Loads the best checkpoint of a run's folder, or RUN/checkpoints/STEP."""
  path = pathlib.Path(name)
  is_step = path.parent.name == checkpoint.FOLDER
  run, which = (path.parents[1], path.name) if is_step else (path, 'best')
  if is_step and not (path.is_dir() and which.isdigit()):
    raise errors.InputError(
      f'--init_from {name}: there is no such checkpoint; name the folder of '
      'the run to start from its best checkpoint'
    )
  return trained.load(run, which)


def reestimate(
  apply_fn: Callable,
  variables: dict,
  rng: jax.Array,
  inputs_fn: Callable,
  batches: Iterable[dict[str, np.ndarray]],
) -> dict:
  """Re-estimates batch norm's statistics as plain means over batches.

  Plain means replace the exponential averages: Wu and Johnson 2021
  (arXiv:2105.07576), section 3. The parameters don't change.

  Args:
    apply_fn: apply function of the model in training.
    variables: params and batch_stats; only the shapes of batch_stats matter.
    rng: base key of the run.
    inputs_fn: (key, batch) -> preprocess.Inputs, on one device.
    batches: batches of this process, from the training stream.

  Returns:
    The new batch_stats.
  """
  # One update from zeros gives this share of the batch's statistics.
  share = 1 - norm.BatchNormRelu.momentum
  zeros = jax.tree.map(jnp.zeros_like, variables['batch_stats'])

  def statistics(variables, batch):
    image = inputs_fn(variables['rng'], batch).image
    _, updated = step_lib.forward(apply_fn, variables['params'], zeros, image)
    return jax.tree.map(lambda x: x / share, updated)

  mapped = parallel.map_step(statistics)
  placed = parallel.replicate({'params': variables['params'], 'rng': rng})
  stats = [mapped(placed, batch) for batch in parallel.place_ahead(batches)]
  return jax.tree.map(
    lambda *x: jnp.mean(jnp.stack(x), 0), *jax.device_get(stats)
  )

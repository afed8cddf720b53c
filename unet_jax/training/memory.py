"""Measures the memory of a training step from its compiled program."""

from typing import Any

import jax
import ml_collections

from unet_jax import build, errors, parallel
from unet_jax.data import sources
from unet_jax.training import feed, setup

GIB = 2**30
# Share of a device's memory that a proposed batch may fill: libraries and
# fragmentation take some of the rest.
FULL = 0.9


def compile_step(
  run: setup.Run, config: ml_collections.ConfigDict, dataset: sources.Dataset
) -> setup.Run:
  """Compiles the training step, and checks that it fits into a device.

  Images that the device should hold count as well. With `config.input=auto`
  they stay on the host if the device has no room for both.

  Raises:
    InputError: if they do not fit; names settings that do.
  """
  where = feed.choose(config, dataset)
  parallel.say('compiling the training step')
  train = dataset.splits['train']
  compiled = lower(run, config, train[0]).compile()
  needed, available = compiled_bytes(compiled), parallel.device_bytes()
  images = feed.num_bytes(train) if where == 'device' else 0
  if config.input == 'auto' and available and needed + images > available:
    where, images = 'host', 0
  check_fits(needed, images, config, dataset.stats, train[0])
  # A compiled step is called like a jitted one; nothing lowers it again.
  return run._replace(
    train_step=compiled,  # type: ignore[arg-type]
    input=where,
  )


def step_bytes(
  config: ml_collections.ConfigDict, stats: sources.Stats, example: dict
) -> int:
  """Returns the bytes that a training step needs on each device.

  Compiles the step for batches of training windows. Does not count memory that
  libraries such as cuDNN allocate themselves.

  Args:
    config: config of the run.
    stats: statistics of the training images; `pixels` may be missing.
    example: any training example; only shapes and types count.
  """
  config = config.copy_and_resolve_references()
  # Class weights take no memory, but would need `stats.pixels`.
  config.loss.class_weights = 'none'
  run = setup.make_run(config, stats)
  return compiled_bytes(lower(run, config, example).compile())


def lower(
  run: setup.Run, config: ml_collections.ConfigDict, example: dict
) -> jax.stages.Lowered:
  """Lowers the training step of a run for batches of such examples."""
  state = parallel.abstract(jax.eval_shape(run.init))
  return run.train_step.lower(state, build.abstract_batch(config, example))


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
  """Returns the bytes that a compiled function needs on each device."""
  memory: Any = compiled.memory_analysis()  # JAX declares no type.
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def check_fits(
  needed: int,
  images: int,
  config: ml_collections.ConfigDict,
  stats: sources.Stats,
  example: dict,
) -> None:
  """Raises InputError, naming settings that fit, if a step does not fit.

  Args:
    needed: bytes that the step needs, from `compiled_bytes`.
    images: bytes of the images that the device holds beside the step.
    config: config of the run.
    stats: see `step_bytes`.
    example: see `step_bytes`.
  """
  available = parallel.device_bytes()
  if not available or needed + images <= available:
    return
  room = available - images
  remedies = []
  if images:
    remedies.append('config.input=host')
  if batch_size := largest_batch(
    config, stats, example, room=room, below=config.batch_size
  ):
    remedies.append(f'config.batch_size={batch_size}')
  levels = config.model.depth + 1
  if not config.model.name.startswith('tutorial') and not config.model.remat:
    config = config.copy_and_resolve_references()
    config.model.remat = levels
    if step_bytes(config, stats, example) <= room:
      remedies.append(f'config.model.remat={levels} (less memory, more time)')
  beside = f', beside {images / GIB:.1f} GiB of images' if images else ''
  raise errors.InputError(
    f'a training step needs {needed / GIB:.1f} GiB on each device{beside}, but '
    f'a device has {available / GIB:.1f} GiB; set '
    + (' or '.join(remedies) or 'a smaller config.image_size')
  )


def largest_batch(
  config: ml_collections.ConfigDict,
  stats: sources.Stats,
  example: dict,
  *,
  room: int,
  below: int = 2**20 + 1,
) -> int:
  """Returns the largest batch size that fits, by compiling; 0 if none does.

  Args:
    config: config of the run; its batch size is not read.
    stats: see `step_bytes`.
    example: see `step_bytes`.
    room: bytes of a device, of which FULL is used.
    below: batch size that is known not to fit, or not to be allowed.
  """
  unit = parallel.num_devices() * config.optim.accumulate
  config = config.copy_and_resolve_references()
  fits, guess, too_large = 0, 1, -(-below // unit)  # In units.
  while too_large - fits > 1:
    config.batch_size = guess * unit
    if step_bytes(config, stats, example) <= FULL * room:
      fits, guess = guess, 2 * guess
    else:
      too_large = guess
    if guess >= too_large:
      guess = (fits + too_large) // 2
  return fits * unit

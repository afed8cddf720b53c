"""Measures the memory of a training step from its compiled program."""

import os
import pathlib
from typing import Any

import jax
import ml_collections

from unet_jax import build, errors, parallel
from unet_jax.data import sources
from unet_jax.training import feed, setup

CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')
GIB = 2**30


def compile_step(
  run: setup.Run, config: ml_collections.ConfigDict, dataset: sources.Dataset
) -> setup.Run:
  """Compiles the training step, and checks that it fits into a device.

  Raises:
    InputError: if the step does not fit; names settings that do.
  """
  parallel.say('compiling the training step')
  example = dataset.splits['train'][0]
  compiled = lower(run, config, example).compile()
  needed = compiled_bytes(compiled)
  if feed.choose(config, dataset) == 'device':
    needed += feed.num_bytes(dataset.splits['train'])
  check_fits(needed, config, dataset.stats, example)
  # A compiled step is called like a jitted one; nothing lowers it again.
  return run._replace(train_step=compiled)  # type: ignore[arg-type]


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


def device_bytes() -> int:
  """Returns the memory of one device; CPU devices share the machine's."""
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    return device.memory_stats()['bytes_limit']
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit = CGROUP.read_text().strip() if CGROUP.exists() else 'max'
  if limit != 'max':  # The limit of a container.
    total = min(total, int(limit))
  return total // jax.local_device_count()


def check_fits(
  needed: int,
  config: ml_collections.ConfigDict,
  stats: sources.Stats,
  example: dict,
) -> None:
  """Raises InputError, naming settings that fit, if a step does not fit.

  Args:
    needed: bytes that the step needs, from `compiled_bytes`.
    config: config of the run.
    stats: see `step_bytes`.
    example: see `step_bytes`.
  """
  available = device_bytes()
  if needed <= available:
    return
  remedies = []
  batch_size = largest_batch(config, stats, example)
  if batch_size:
    remedies.append(f'config.batch_size={batch_size}')
  levels = config.model.depth + 1
  if not config.model.name.startswith('tutorial') and not config.model.remat:
    config = config.copy_and_resolve_references()
    config.model.remat = levels
    if step_bytes(config, stats, example) <= available:
      remedies.append(f'config.model.remat={levels} (less memory, more time)')
  raise errors.InputError(
    f'a training step needs {needed / GIB:.1f} GiB on each device, but a '
    f'device has {available / GIB:.1f} GiB; set '
    + (' or '.join(remedies) or 'a smaller config.image_size')
  )


def largest_batch(
  config: ml_collections.ConfigDict, stats: sources.Stats, example: dict
) -> int:
  """Returns the largest batch size that fits; 0 if none does.

  Memory grows nearly as a straight line, so two sizes give a guess; from there
  the search gallops until it has a size that fits and the next that does not.
  """
  unit = parallel.num_devices() * config.optim.accumulate
  config = config.copy_and_resolve_references()

  def bytes_for(units: int) -> int:
    config.batch_size = units * unit
    return step_bytes(config, stats, example)

  available, first = device_bytes(), bytes_for(1)
  if first > available:
    return 0
  slope = max(bytes_for(2) - first, 1)
  guess, step = max(2, 1 + (available - first) // slope), 1
  fits, too_large = 1, guess + 2**20
  while too_large - fits > 1:
    if bytes_for(guess) <= available:
      fits, guess = guess, guess + step
    else:
      too_large, guess = guess, guess - step
    step *= 2
    if not fits < guess < too_large:
      guess = (fits + too_large) // 2
  return fits * unit

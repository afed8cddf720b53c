"""What a training step takes of a device's memory; nothing here runs it."""

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
  """Compiles a run's training step, and checks that a device has room for it.

  Raises:
    InputError: if it does not fit; it names what does.
  """
  parallel.say('compiling the training step')
  example = dataset.splits['train'][0]
  compiled = lower(run, config, example).compile()
  needed = compiled_bytes(compiled)
  if feed.choose(config, dataset) == 'device':
    needed += feed.num_bytes(dataset.splits['train'])
  check_fits(needed, config, dataset.stats, example)
  # It is called like the one before; nothing lowers it again.
  return run._replace(train_step=compiled)  # type: ignore[arg-type]


def step_bytes(
  config: ml_collections.ConfigDict, stats: sources.Stats, example: dict
) -> int:
  """Returns the bytes that a step needs on each device.

  Compiles the step for batches of the windows that training cuts. Memory that
  libraries take for themselves is not counted.

  Args:
    config: of the run.
    stats: of the training images; `pixels` may be missing.
    example: any of them; only shapes and types count.
  """
  config = config.copy_and_resolve_references()
  # Class weights take no memory, but making them needs the pixels' counts.
  config.loss.class_weights = 'none'
  run = setup.make_run(config, stats)
  return compiled_bytes(lower(run, config, example).compile())


def lower(
  run: setup.Run, config: ml_collections.ConfigDict, example: dict
) -> jax.stages.Lowered:
  """Lowers a run's training step for batches of such examples."""
  state = parallel.abstract(jax.eval_shape(run.init))
  return run.train_step.lower(state, build.abstract_batch(config, example))


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
  """Returns the bytes that a compiled function needs on each device."""
  memory: Any = compiled.memory_analysis()  # JAX leaves its type open.
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def device_bytes() -> int:
  """Returns the bytes of one device; CPU devices share the machine's memory."""
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    return device.memory_stats()['bytes_limit']
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit = CGROUP.read_text().strip() if CGROUP.exists() else 'max'
  if limit != 'max':  # A container has a limit of its own.
    total = min(total, int(limit))
  return total // jax.local_device_count()


def check_fits(
  needed: int,
  config: ml_collections.ConfigDict,
  stats: sources.Stats,
  example: dict,
) -> None:
  """Raises InputError, with what would fit, if a step's bytes do not.

  Args:
    needed: bytes of a compiled step, from `compiled_bytes`.
    config: of the run.
    stats: as `step_bytes` takes it.
    example: as `step_bytes` takes it.
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
      remedies.append(f'config.model.remat={levels} (more time, less memory)')
  raise errors.InputError(
    f'a training step needs {needed / GIB:.1f} GiB of each device, which has '
    f'{available / GIB:.1f}; set '
    + (' or '.join(remedies) or 'a smaller config.image_size')
  )


def largest_batch(
  config: ml_collections.ConfigDict, stats: sources.Stats, example: dict
) -> int:
  """Returns the largest batch size that fits, by compiling; 0 if none does.

  Memory grows nearly as a straight line, so two sizes give a guess; from there
  the search gallops until it has a size that fits and the next that does not.
  """
  unit = parallel.num_devices() * config.optim.accumulate
  config = config.copy_and_resolve_references()

  def needed(units: int) -> int:
    config.batch_size = units * unit
    return step_bytes(config, stats, example)

  available, first = device_bytes(), needed(1)
  if first > available:
    return 0
  slope = max(needed(2) - first, 1)
  guess, step = max(2, 1 + (available - first) // slope), 1
  fits, too_large = 1, guess + 2**20
  while too_large - fits > 1:
    if needed(guess) <= available:
      fits, guess = guess, guess + step
    else:
      too_large, guess = guess, guess - step
    step *= 2
    if not fits < guess < too_large:
      guess = (fits + too_large) // 2
  return fits * unit

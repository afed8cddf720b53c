"""Whether a training step fits the device, before it is tried."""

import os
import pathlib

import jax
import jax.numpy as jnp
import ml_collections

from unet_jax.data import sources
from unet_jax.data.checks import run as run_checks
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor import survey
from unet_jax.training import setup

CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')


def check(taken: survey.Survey) -> list[Finding]:
  """Compares what a step needs with what a device has."""
  channels = taken.read(taken.records[0].key)['image'].shape[-1]
  needed = step_bytes(taken.config, taken.classes, channels)
  kind = jax.local_devices()[0].device_kind
  return run_checks.memory(needed, device_bytes(), kind)


def step_bytes(
  config: ml_collections.ConfigDict, classes: tuple[str, ...], channels: int
) -> int:
  """Reads off the compiled step what it needs on each device, in bytes.

  Its arguments and temporaries; nothing runs. What libraries take for
  themselves isn't counted, nor are maps of weights.
  """
  stats = sources.Stats(classes, (128.0,) * channels, (64.0,) * channels)
  config = config.copy_and_resolve_references()
  config.loss.class_weights = 'none'  # They take no memory, but pixels' counts.
  run = setup.make_run(config, stats)
  devices, side = jax.device_count(), config.image_size
  shape = (devices, config.batch_size // devices, side, side)
  planes = (len(classes),) if config.task == 'multilabel' else ()
  batch = dict(
    image=jax.ShapeDtypeStruct((*shape, channels), jnp.uint8),
    label=jax.ShapeDtypeStruct((*shape, *planes), jnp.uint8),
    index=jax.ShapeDtypeStruct(shape[:2], jnp.int32),
  )
  compiled = run.train_step.lower(jax.eval_shape(run.init), batch).compile()
  memory = compiled.memory_analysis()
  return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def device_bytes() -> int:
  """Returns the memory of one device; CPUs share the machine's."""
  device = jax.local_devices()[0]
  if device.platform != 'cpu':
    return device.memory_stats()['bytes_limit']
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit = CGROUP.read_text().strip() if CGROUP.exists() else 'max'
  if limit != 'max':  # Of the container.
    total = min(total, int(limit))
  return total // jax.local_device_count()

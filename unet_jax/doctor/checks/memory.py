"""Whether a step, compiled and not run, fits the memory of a device."""

import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from unet_jax.data import sources
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey
from unet_jax.training import setup

CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')
FULL = 0.9  # Share of the memory; the rest is for what `step_bytes` leaves out.
GIB = 2**30


def check(survey: Survey) -> list[Finding]:
  """Compares the bytes that a step needs with those of a device."""
  channels = survey.read(survey.records[0].key)['image'].shape[-1]
  needed = step_bytes(survey.config, survey.classes, channels)
  kind = jax.local_devices()[0].device_kind
  return compare(needed, device_bytes(), kind)


def compare(needed: int, available: int, device: str) -> list[Finding]:
  """Compares a step's estimated bytes with those of a device."""
  severity = 'error' if needed > available else 'warning'
  fits = needed <= FULL * available
  return [
    Finding(
      'note' if fits else severity,
      'device memory',
      text=f'a step needs about {needed / GIB:.1f} GiB of the '
      f'{available / GIB:.1f} that a device has ({device})',
      remedy=''
      if fits
      else 'lower config.batch_size or config.image_size, or trade time for '
      'memory with config.model.remat',
      number=needed,
    )
  ]


def step_bytes(
  config: ml_collections.ConfigDict, classes: tuple[str, ...], channels: int
) -> int:
  """Returns the bytes that a compiled step needs on each device.

  The sum of the step's arguments and temporaries. Nothing runs. Memory that
  libraries take for themselves and maps of weights are left out.
  """
  stats = sources.Stats(classes, (128.0,) * channels, (64.0,) * channels)
  config = config.copy_and_resolve_references()
  # Class weights take no memory, but making them needs the pixels' counts.
  config.loss.class_weights = 'none'
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
  memory: Any = compiled.memory_analysis()
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


CHECKS = (
  Check(
    'device memory',
    ('error', 'warning', 'note'),
    'What a training step needs of the memory of a device.',
    check,
    'step',
  ),
)

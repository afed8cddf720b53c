"""Checks whether a step fits a device's memory, by compiling the step."""

import jax

from unet_jax.data import sources
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey
from unet_jax.training import memory

# Share of the memory; the rest is for what `memory.step_bytes` leaves out.
FULL = 0.9


def check(survey: Survey) -> list[Finding]:
  """Compares the bytes that a step needs with those of a device."""
  example = survey.read(survey.records[0].key)
  stats = make_stats(survey, example)
  needed = memory.step_bytes(survey.config, stats, example)
  kind = jax.local_devices()[0].device_kind
  return compare(needed, memory.device_bytes(), kind)


def make_stats(survey: Survey, example: dict) -> sources.Stats:
  """Returns statistics that take as much memory as the true ones."""
  channels = example['image'].shape[-1]
  return sources.Stats(survey.classes, (128.0,) * channels, (64.0,) * channels)


def say_largest_batch(survey: Survey) -> str:
  """Compiles steps of several batch sizes; returns a line on the largest."""
  example = survey.read(survey.records[0].key)
  stats = make_stats(survey, example)
  largest = memory.largest_batch(survey.config, stats, example)
  size = f'{memory.device_bytes() / memory.GIB:.1f} GiB of each device'
  if not largest:
    return f'no batch fits the {size}; lower config.image_size'
  return f'config.batch_size={largest} is the largest that fits the {size}'


def compare(needed: int, available: int, device: str) -> list[Finding]:
  """Compares a step's estimated bytes with those of a device."""
  severity = 'error' if needed > available else 'warning'
  fits = needed <= FULL * available
  return [
    Finding(
      'note' if fits else severity,
      'device memory',
      text=f'a step needs about {needed / memory.GIB:.1f} GiB of the '
      f'{available / memory.GIB:.1f} that a device has ({device})',
      remedy=''
      if fits
      else 'lower config.batch_size or config.image_size, or trade time for '
      'memory with config.model.remat',
      number=needed,
    )
  ]


CHECKS = (
  Check(
    'device memory',
    ('error', 'warning', 'note'),
    'How much of the memory of a device a training step needs.',
    check,
    'step',
  ),
)

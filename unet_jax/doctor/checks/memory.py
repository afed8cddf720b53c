"""Checks whether a step fits a device's memory, by compiling the step."""

import jax

from unet_jax import parallel
from unet_jax.data import sources
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey
from unet_jax.training import memory


def check(survey: Survey) -> list[Finding]:
  """Compares the bytes that a step needs with those of a device."""
  available = parallel.device_bytes()
  if not available:
    return []
  example = read_example(survey)
  stats = make_stats(survey, example)
  needed = memory.step_bytes(survey.config, stats, example)
  return compare(needed, available, jax.local_devices()[0].device_kind)


def read_example(survey: Survey) -> dict:
  """Reads a training example; only its shapes and types count."""
  return survey.read(next(x.key for x in survey.records if x.split == 'train'))


def make_stats(survey: Survey, example: dict) -> sources.Stats:
  """Returns statistics that take as much memory as the true ones."""
  channels = example['image'].shape[-1]
  return sources.Stats(survey.classes, (128.0,) * channels, (64.0,) * channels)


def say_largest_batch(survey: Survey) -> str:
  """Compiles steps of several batch sizes; returns a line on the largest."""
  example, room = read_example(survey), parallel.device_bytes()
  if not room:
    return 'the memory of the devices is unknown'
  stats = make_stats(survey, example)
  largest = memory.largest_batch(survey.config, stats, example, room=room)
  size = f'{memory.FULL:.0%} of the {room / memory.GIB:.1f} GiB of a device'
  if not largest:
    return f'no batch fits into {size}; lower config.image_size'
  return f'config.batch_size={largest} is the largest that fits into {size}'


def compare(needed: int, available: int, device: str) -> list[Finding]:
  """Compares a step's estimated bytes with those of a device."""
  severity = 'error' if needed > available else 'warning'
  fits = needed <= memory.FULL * available
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

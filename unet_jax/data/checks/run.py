"""Batch size, length and memory of a run, beside its data and machine."""

from unet_jax.data.checks.finding import Finding, percent, plural

FULL = 0.9  # Share of the memory; the rest is for what isn't counted.
GIB = 2**30


def batch(batch_size: int, num_train: int, num_devices: int) -> list[Finding]:
  """Finds a batch that the devices can't share, or that repeats images."""
  if batch_size % num_devices:
    fits = -(-batch_size // num_devices) * num_devices
    return [
      Finding(
        'error',
        'batch size',
        f'config.batch_size is {batch_size}, which {num_devices} devices can '
        'not share',
        number=batch_size,
        settings={'batch_size': fits},
      )
    ]
  fits = -(-num_train // num_devices) * num_devices
  if batch_size > fits:
    return [
      Finding(
        'note',
        'batch size',
        f'a batch of {batch_size} has {plural(num_train, "train image")} more '
        'than once',
        number=batch_size,
        settings={'batch_size': fits},
      )
    ]
  return []


def length(total_steps: int, batch_size: int, num_train: int) -> list[Finding]:
  """Says how often a run sees each image."""
  epochs = total_steps * batch_size / max(1, num_train)
  if epochs >= 1:
    return [
      Finding(
        'note',
        'steps per epoch',
        f'{num_train / batch_size:.3g} steps of {batch_size} images; '
        f'{total_steps} steps see each train image {epochs:.3g} times',
        number=total_steps,
      )
    ]
  return [
    Finding(
      'warning',
      'short run',
      f'{total_steps} steps of {batch_size} see {percent(epochs)} of the '
      f'{num_train} train images',
      number=total_steps,
      settings={'total_steps': -(-num_train // batch_size)},
    )
  ]


def memory(needed: int, available: int, device: str) -> list[Finding]:
  """Compares a step's estimated bytes with those of a device."""
  severity = 'error' if needed > available else 'warning'
  fits = needed <= FULL * available
  return [
    Finding(
      'note' if fits else severity,
      'device memory',
      f'a step needs about {needed / GIB:.1f} GiB of the {available / GIB:.1f} '
      f'that a device has ({device})',
      ''
      if fits
      else 'lower config.batch_size or config.image_size, or trade time for '
      'memory with config.model.remat',
      number=needed,
    )
  ]

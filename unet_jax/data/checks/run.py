"""Compares batch size and length of a run with its data and devices."""

from unet_jax.data.checks.finding import Finding, percent, plural


def batch(batch_size: int, num_train: int, num_devices: int) -> list[Finding]:
  """Finds a batch that the devices can't share, or that repeats images."""
  if batch_size % num_devices:
    fits = -(-batch_size // num_devices) * num_devices
    return [
      Finding(
        'error',
        'batch size',
        text=f'config.batch_size is {batch_size}, which {num_devices} devices '
        'cannot share',
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
        text=f'a batch of {batch_size} has {plural(num_train, "train image")} '
        'more than once',
        number=batch_size,
        settings={'batch_size': fits},
      )
    ]
  return []


def length(total_steps: int, batch_size: int, num_train: int) -> list[Finding]:
  """Reports how often a run sees each train image."""
  epochs = total_steps * batch_size / max(1, num_train)
  if epochs >= 1:
    return [
      Finding(
        'note',
        'steps per epoch',
        text=f'{num_train / batch_size:.3g} steps of {batch_size} images; '
        f'{total_steps} steps see each train image {epochs:.3g} times',
        number=total_steps,
      )
    ]
  return [
    Finding(
      'warning',
      'short run',
      text=f'{total_steps} steps of {batch_size} see {percent(epochs)} of the '
      f'{num_train} train images',
      number=total_steps,
      settings={'total_steps': -(-num_train // batch_size)},
    )
  ]

"""Trains U-Nets for image segmentation on JAX, with numbers to trust.

  run = unet_jax.load('runs/first')
  mask = run('photo.png')

JAX is imported by the first call, not by `import unet_jax`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from unet_jax.api import InputError, diagnose, get_config, load, train

__all__ = ['InputError', 'diagnose', 'get_config', 'load', 'train']
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
  """Imports what programs call at its first use (PEP 562)."""
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from unet_jax import api

  return getattr(api, name)

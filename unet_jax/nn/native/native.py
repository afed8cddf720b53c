"""The native operations for CPUs: made ready at first use, and called."""

import ctypes
import functools
import os
import pathlib
from typing import Any

import jax

from unet_jax.nn.native import build, cpu

_OPERATIONS = (
  *('conv', 'conv_affine_relu', 'conv_dx', 'conv_dk'),
  *('moments', 'normalize', 'gradient_sums', 'gradient'),
)
_SPINS = '1000'  # Turns of a waiting thread's loop: a few microseconds.


@functools.cache
def problem() -> str:
  """Makes the operations ready, once; returns what prevents it, or ''.

  The first call on a machine compiles (seconds), later ones load the result
  from the cache folder.
  """
  try:
    _register(_load(build.shared_object()))
  except (build.Unavailable, OSError) as error:
    return (
      f'The native convolution is off, and training on this CPU takes 1.3 '
      f'times as long or more: {error}'
    )
  return ''


def missing() -> str:
  """Returns what the operations need and is not installed, or ''."""
  try:
    build.find_tools()
  except build.Unavailable as error:
    return str(error)
  return ''


def call(name: str, result: Any, *args: jax.Array, **attributes: int) -> Any:
  """Runs an operation on a device's share of the cores.

  Args:
    name: one of _OPERATIONS.
    result: the result's shape and type, or a tuple of them; arrays will do.
    *args: the arrays, in the order of the C++ handler.
    **attributes: the handler's integers.

  Returns:
    An array like `result`, or a tuple of such.

  Raises:
    RuntimeError: the operations can't be had here; `problem` says why.
  """
  if problem():
    raise RuntimeError(problem())
  result = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), result
  )
  return jax.ffi.ffi_call('unet_jax_' + name, result, vmap_method='sequential')(
    *args, threads=cpu.num_threads(), **attributes
  )


def _load(path: pathlib.Path) -> ctypes.CDLL:
  """Loads the library so that OpenMP's threads sleep when they wait.

  By default they spin for milliseconds on cores that XLA's threads, or other
  programs, could use: an up-convolution took twice as long.
  """
  name = 'GOMP_SPINCOUNT'  # OpenMP reads it once, when the library is loaded.
  if name in os.environ or 'OMP_WAIT_POLICY' in os.environ:
    return ctypes.CDLL(str(path))
  os.environ[name] = _SPINS
  try:
    return ctypes.CDLL(str(path))
  finally:
    del os.environ[name]


def _register(library: ctypes.CDLL) -> None:
  for name in _OPERATIONS:
    handler = getattr(library, 'unet_jax_' + name)
    jax.ffi.register_ffi_target(
      'unet_jax_' + name, jax.ffi.pycapsule(handler), platform='cpu'
    )

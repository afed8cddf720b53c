"""Loads the native CPU operations at first use, and calls them."""

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
_SPINS = '1000'  # Spin iterations of a waiting thread: a few microseconds.


@functools.cache
def problem() -> str:
  """Loads the operations, once; returns why they can't be used, or ''.

  The first call on a machine compiles the library (seconds); later calls load
  it from the cache folder.
  """
  try:
    _register(_load(build.shared_object()))
  except (build.Unavailable, OSError) as error:
    return (
      'The native convolution is off, and training on this CPU takes at least '
      f'1.3 times as long: {error}'
    )
  return ''


def missing() -> str:
  """Returns which requirement of the operations is not installed, or ''."""
  try:
    build.find_tools()
  except build.Unavailable as error:
    return str(error)
  return ''


def call(name: str, result: Any, *args: jax.Array, **attributes: int) -> Any:
  """Runs an operation on a device's share of the cores.

  Args:
    name: one of _OPERATIONS.
    result: the result's shape and dtype, or a tuple of several; arrays or
      jax.ShapeDtypeStructs.
    *args: the arrays, in the order of the C++ handler.
    **attributes: the handler's integer attributes.

  Returns:
    An array with the shape and dtype of `result`, or a tuple of such arrays.

  Raises:
    RuntimeError: the operations are unavailable here; see `problem`.
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
  """Loads the library with OpenMP threads that sleep while they wait.

  By default the threads spin for milliseconds on cores that XLA's threads or
  other programs could use; an up-convolution then took twice as long.
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

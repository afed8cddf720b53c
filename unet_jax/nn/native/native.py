"""The native operation for CPUs: built at first use, cached, registered."""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import jax
import jaxlib

from unet_jax import cache

_HERE = pathlib.Path(__file__).parent
_SOURCES = [str(_HERE / name) for name in ('onednn_conv.cc', 'batch_norm.cc')]
_FLAGS = ('-std=c++17', '-O3', '-march=native', '-fPIC', '-shared', '-fopenmp')
_SPINS = '1000'  # Some microseconds.
# Of malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX. No mappings of their
# own for large blocks, nothing given back, one heap for all threads.
_KEEP = {-4: 0, -1: -1, -8: 1}
_TARGETS = (
  *('conv', 'conv_affine_relu', 'conv_dx', 'conv_dk'),
  *('moments', 'normalize', 'gradient_sums', 'gradient'),
)


class Unavailable(Exception):
  """Why the native operation can't be used here, and what mends it."""


@functools.cache
def problem() -> str:
  """Makes the operation ready, once; says what prevents it, '' if nothing.

  The first call on a machine compiles (seconds), later ones load the result
  from the cache folder.
  """
  try:
    _register(_loaded(_built()))
  except (Unavailable, OSError) as error:
    return (
      f'The native convolution is off, and training on this CPU takes 1.3 '
      f'times as long or more: {error}'
    )
  return ''


def missing() -> str:
  """Says what the operation lacks to be made ready, '' if nothing is known."""
  try:
    _check_platform()
    _onednn()
    _compiler()
  except Unavailable as error:
    return str(error)
  return ''


def call(name: str, result, *args: jax.Array, **attributes: int):
  """Runs one of the operations on a device's share of the cores.

  Args:
    name: as in _TARGETS.
    result: the result's shape and type, or a tuple of them; arrays will do.
    *args: as the handler in C++ takes them.
    **attributes: integers.
  """
  if problem():
    raise RuntimeError(problem())
  result = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), result
  )
  return jax.ffi.ffi_call('unet_jax_' + name, result, vmap_method='sequential')(
    *args, threads=num_threads(), **attributes
  )


def keep_memory() -> None:
  """Has the C library keep freed memory, for the next step to use again.

  Else every step gets its buffers as fresh pages from the system, which zeroes
  them: a tenth of a step's time and more. Call it before JAX makes its first
  array (it fails to matter later); the process then stays at its largest size.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt:  # The GNU C library's.
    for option, value in _KEEP.items():
      mallopt(option, value)


def has_fast_bfloat16() -> bool:
  """Whether the CPU multiplies bfloat16 faster than float32.

  AMX does, and AMD's AVX-512, at twice the rate; with Intel's AVX-512 alone a
  step took 1.5 times as long as in float32.
  """
  features = cache.cpu_features()
  is_amd = cache.cpu_vendor() == 'AuthenticAMD'
  return 'amx_bf16' in features or (is_amd and 'avx512_bf16' in features)


def num_threads() -> int:
  """Returns the threads of one call: a device's share of the cores."""
  return max(1, num_cores() // jax.local_device_count('cpu'))


def num_cores() -> int:
  """Returns the cores that this process may use."""
  limit = os.environ.get('OMP_NUM_THREADS', '').split(',')[0]
  cores = len(os.sched_getaffinity(0))
  return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


def _loaded(path: pathlib.Path) -> ctypes.CDLL:
  """Loads the library, with OpenMP's threads told to sleep when they wait.

  By default they spin for milliseconds on cores that XLA's threads, or other
  programs, could use: measured, an up-convolution took twice as long.
  """
  name = 'GOMP_SPINCOUNT'  # Read once, when the library is loaded.
  if name in os.environ or 'OMP_WAIT_POLICY' in os.environ:
    return ctypes.CDLL(str(path))
  os.environ[name] = _SPINS
  try:
    return ctypes.CDLL(str(path))
  finally:
    del os.environ[name]


def _register(library: ctypes.CDLL) -> None:
  for name in _TARGETS:
    handler = getattr(library, 'unet_jax_' + name)
    jax.ffi.register_ffi_target(
      'unet_jax_' + name, jax.ffi.pycapsule(handler), platform='cpu'
    )


def _built() -> pathlib.Path:
  """Returns the path of the shared library, compiling it if need be."""
  _check_platform()
  include, library, version = _onednn()
  compiler = _compiler()
  command = [
    *(compiler, *_FLAGS, f'-I{include}', f'-I{jax.ffi.include_dir()}'),
    *(*_SOURCES, str(library), f'-Wl,-rpath,{library.parent}'),
  ]
  key = hashlib.sha256()
  for path in sorted(_HERE.glob('*.cc')) + sorted(_HERE.glob('*.h')):
    key.update(path.read_bytes())
  for part in (*command, version, jaxlib.__version__, cache.machine()):
    key.update(part.encode() + b'\0')
  target = cache.folder() / f'native_{key.hexdigest()[:16]}.so'
  if not target.exists():
    _compile(command, target)
  return target


def _check_platform() -> None:
  machines = ('x86_64', 'aarch64')
  if sys.platform != 'linux' or platform.machine() not in machines:
    raise Unavailable('it is made for Linux on x86-64 and arm64 only.')


def _compile(command: list[str], target: pathlib.Path) -> None:
  """Compiles into a file of its own, so that two processes don't collide."""
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
      output = pathlib.Path(folder) / target.name
      done = subprocess.run(
        [*command, '-o', str(output)],
        capture_output=True,
        text=True,
        check=False,
      )
      if done.returncode:
        lines = [x for x in done.stderr.splitlines() if 'error' in x]
        raise Unavailable(
          f'{command[0]} failed: {(lines or ["no message"])[0].strip()}'
        )
      os.replace(output, target)
  except OSError as error:
    raise Unavailable(
      f'{target.parent} is not writable ({error}); set XDG_CACHE_HOME.'
    ) from error


def _compiler() -> str:
  for name in (os.environ.get('CXX'), 'g++', 'c++'):
    path = name and shutil.which(name)
    if path:
      return path
  raise Unavailable('there is no C++ compiler; install g++.')


def _onednn() -> tuple[pathlib.Path, pathlib.Path, str]:
  """Finds oneDNN: its include folder, its library, its version."""
  remedy = (
    'pip install onednn-cpu-gomp onednn-devel-cpu-gomp'
    if platform.machine() == 'x86_64'
    else 'install oneDNN 3 (libdnnl-dev, or onednn from conda-forge)'
  )
  found = ''
  for prefix in map(pathlib.Path, (sys.prefix, '/usr/local', '/usr')):
    header = prefix / 'include/oneapi/dnnl/dnnl_version.h'
    library = _first_library(prefix)
    if not header.exists() or not library:
      continue
    version = '.'.join(
      re.findall(
        r'DNNL_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)', header.read_text()
      )
    )
    if int(version.split('.')[0]) >= 3:
      return prefix / 'include', library, version
    found = f' (that in {prefix}, {version}, is too old)'
  raise Unavailable(f'there is no oneDNN 3{found}; {remedy}.')


def _first_library(prefix: pathlib.Path) -> pathlib.Path | None:
  multiarch = sysconfig.get_config_var('MULTIARCH') or ''
  for folder in ('lib', 'lib64', f'lib/{multiarch}'):
    for name in ('libdnnl.so', 'libdnnl.so.3'):
      path = prefix / folder / name
      if path.exists():
        return path
  return None

"""Compiles the C++ sources beside this file into a shared library, once."""

import hashlib
import os
import pathlib
import platform
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from typing import NamedTuple

import jax
import jaxlib

from unet_jax import cache

_HERE = pathlib.Path(__file__).parent
_SOURCES = ('onednn_conv.cc', 'batch_norm.cc')
_FLAGS = ('-std=c++17', '-O3', '-march=native', '-fPIC', '-shared', '-fopenmp')


class Unavailable(Exception):
  """The library can't be built here; the text has the cause and the remedy."""


class Tools(NamedTuple):
  """The compiler and the oneDNN to build the library with."""

  compiler: str  # The path of the C++ compiler.
  include: pathlib.Path  # The folder of oneDNN's headers.
  onednn: pathlib.Path  # The shared library.
  version: str  # The version of oneDNN.


def find_tools() -> Tools:
  """Finds a C++ compiler and oneDNN; raises Unavailable if one is missing."""
  _check_platform()
  include, onednn, version = _find_onednn()
  return Tools(_find_compiler(), include, onednn, version)


def shared_object() -> pathlib.Path:
  """Returns the path of the shared library in the cache folder.

  Compiles the library (seconds) unless the cache holds a sound one that was
  built from the same sources, with the same tools, for the same kind of CPU.

  Raises:
    Unavailable: the platform is unsupported, a tool is missing, the compiler
      fails, or the cache folder is not writable.
  """
  tools = find_tools()
  command = [
    *(tools.compiler, *_FLAGS, f'-I{tools.include}'),
    *(f'-I{jax.ffi.include_dir()}', *(str(_HERE / x) for x in _SOURCES)),
    *(str(tools.onednn), f'-Wl,-rpath,{tools.onednn.parent}'),
  ]
  key = hashlib.sha256()
  for path in sorted(_HERE.glob('*.cc')) + sorted(_HERE.glob('*.h')):
    key.update(path.read_bytes())
  for part in (*command, tools.version, jaxlib.__version__, cache.machine()):
    key.update(part.encode() + b'\0')
  target = cache.folder() / f'native_{key.hexdigest()[:16]}.so'
  if not is_sound(target):
    _compile(command, target)
  return target


def is_sound(library: pathlib.Path) -> bool:
  """Returns whether a library is this user's, and is as it was compiled.

  A library that was cut short ends the process when it is loaded, and one that
  another user has put into a shared folder would run that user's code.
  """
  try:
    status = library.stat()
    is_own = status.st_uid in (os.getuid(), 0)
    if not is_own or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
      return False
    content = library.read_bytes()
  except OSError:
    return False
  size = hashlib.sha256().digest_size
  return content[-size:] == hashlib.sha256(content[:-size]).digest()


def _compile(command: list[str], target: pathlib.Path) -> None:
  """Compiles to a temporary file and renames it; processes may run at once."""
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
      # The loader ignores what follows the library: its digest, for `is_sound`.
      digest = hashlib.sha256(output.read_bytes()).digest()
      with output.open('ab') as file:
        file.write(digest)
      output.chmod(0o755)
      os.replace(output, target)
  except OSError as error:
    raise Unavailable(
      f'{target.parent} is not writable ({error}); set XDG_CACHE_HOME to a '
      'writable folder.'
    ) from error


def _check_platform() -> None:
  machines = ('x86_64', 'aarch64')
  if sys.platform != 'linux' or platform.machine() not in machines:
    raise Unavailable('it needs Linux on x86-64 or arm64.')


def _find_compiler() -> str:
  for name in (os.environ.get('CXX'), 'g++', 'c++'):
    path = name and shutil.which(name)
    if path:
      return path
  raise Unavailable('there is no C++ compiler; install g++.')


def _find_onednn() -> tuple[pathlib.Path, pathlib.Path, str]:
  """Returns oneDNN's include folder, its library and its version."""
  remedy = (
    'pip install onednn-cpu-gomp onednn-devel-cpu-gomp'
    if platform.machine() == 'x86_64'
    else 'install oneDNN 3 (libdnnl-dev, or onednn from conda-forge)'
  )
  too_old = ''
  for prefix in map(pathlib.Path, (sys.prefix, '/usr/local', '/usr')):
    header = prefix / 'include/oneapi/dnnl/dnnl_version.h'
    onednn = _find_library(prefix)
    if not header.exists() or not onednn:
      continue
    version = '.'.join(
      re.findall(
        r'DNNL_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)', header.read_text()
      )
    )
    if int(version.split('.')[0]) >= 3:
      return prefix / 'include', onednn, version
    too_old = f' (version {version} in {prefix} is too old)'
  raise Unavailable(f'there is no oneDNN 3{too_old}; {remedy}.')


def _find_library(prefix: pathlib.Path) -> pathlib.Path | None:
  multiarch = sysconfig.get_config_var('MULTIARCH') or ''
  for folder in ('lib', 'lib64', f'lib/{multiarch}'):
    for name in ('libdnnl.so', 'libdnnl.so.3'):
      path = prefix / folder / name
      if path.exists():
        return path
  return None

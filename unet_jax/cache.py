"""The user's cache folder, and the CPU for which programs are cached."""

import functools
import hashlib
import os
import pathlib
import platform
import re


def folder() -> pathlib.Path:
  """Returns $XDG_CACHE_HOME/unet_jax, or ~/.cache/unet_jax."""
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'unet_jax'


def cpu_features() -> frozenset[str]:
  """Returns the CPU's features by their names in /proc/cpuinfo, e.g. 'avx2'."""
  return frozenset(' '.join(_cpu_info('flags|Features')).split())


def cpu_vendor() -> str:
  """Returns the CPU's vendor, such as 'GenuineIntel'; '' if it is unknown."""
  return next(iter(_cpu_info('vendor_id')), '')


@functools.cache
def _cpu_info(key: str) -> list[str]:
  info = pathlib.Path('/proc/cpuinfo')
  text = info.read_text() if info.exists() else ''
  return re.findall(rf'^(?:{key})\s*:\s*(.*)', text, re.MULTILINE)


def machine() -> str:
  """Returns a hash that is equal on machines that can share compiled code."""
  parts = (platform.machine(), *sorted(cpu_features()))
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]

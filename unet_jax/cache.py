"""The user's cache folder: embedded data, compiled programs."""

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
  """Returns the names that the system has for what this processor can do."""
  info = pathlib.Path('/proc/cpuinfo')
  text = info.read_text() if info.exists() else ''
  lines = re.findall(r'^(?:flags|Features)\s*:(.*)', text, re.MULTILINE)
  return frozenset(' '.join(lines).split())


def machine() -> str:
  """Returns a name for machines that can run each other's native code."""
  parts = (platform.machine(), *sorted(cpu_features()))
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]

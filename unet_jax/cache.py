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


def machine() -> str:
  """Returns what native code depends on: a home may be shared by machines."""
  info = pathlib.Path('/proc/cpuinfo')
  text = info.read_text() if info.exists() else platform.processor()
  features = sorted(
    set(re.findall(r'^(?:flags|Features).*', text, re.MULTILINE))
  )
  parts = (platform.machine(), *features)
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]

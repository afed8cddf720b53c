"""oneDNN inside XLA's CPU backend, an option that is off by default.

It multiplies bfloat16 at least twice as fast as XLA itself, so we turn it on
where the native operations are unavailable. Beware: on CPUs with AMX its
gradient of a 3x3 kernel is silently wrong (cosine 0 to the float32 gradient,
jax 0.12); the engine 'rewritten' of conv.py avoids that gradient.
"""

import importlib.metadata
import importlib.util
import os
import re

import jaxlib

from unet_jax.nn.native import cpu, native

_FLAG = '--xla_cpu_experimental_onednn_custom_call'
# Versions of jaxlib that support the flag. Older ones ignore it; newer ones may
# not know it, and XLA ends the process at an unknown flag.
_VERSIONS = ((0, 11), (0, 12))


def ask(engine: str) -> None:
  """Sets the flag if it helps here; call this before JAX makes an array.

  Args:
    engine: config.engine: 'auto', 'native', 'rewritten' or 'xla'.
  """
  is_needed = engine == 'rewritten' or (
    engine == 'auto' and bool(native.missing())
  )
  is_known = jaxlib.version.__version_info__[:2] in _VERSIONS
  flags = os.environ.get('XLA_FLAGS', '').strip()
  # XLA_FLAGS may name a file of flags; then it can hold no flags itself.
  is_file = bool(flags) and not flags.startswith('-')
  if not is_needed or not is_known or is_file or _has_plugin():
    return
  if cpu.has_fast_bfloat16():
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}=true'.strip()


def _has_plugin() -> bool:
  """Returns whether a JAX plugin for other devices is installed.

  Asking JAX for its devices would start its backends, and the flag must be set
  before.
  """
  return bool(
    importlib.util.find_spec('jax_plugins')
    or importlib.metadata.entry_points(group='jax_plugins')
  )


def is_on() -> bool:
  """Returns whether the flag is set, by `ask` or by the user."""
  flags = os.environ.get('XLA_FLAGS', '')
  values = re.findall(rf'{_FLAG}(?:=(\S*))?(?:\s|$)', flags)
  return bool(values) and values[-1].lower() in ('', 'true', '1')

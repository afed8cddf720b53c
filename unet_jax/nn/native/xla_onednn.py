"""oneDNN inside of XLA's CPU backend, an option that is off by default.

It multiplies bfloat16 two and more times faster than XLA does itself, so it is
asked for where the native operation can't be had. Beware: on CPUs with AMX its
gradient of a 3x3 kernel is silently wrong (cosine 0 to the float32 one, jax
0.12), for which conv.py has a form of its own.
"""

import importlib.metadata
import importlib.util
import os
import re

import jaxlib

from unet_jax.nn.native import native

_FLAG = '--xla_cpu_experimental_onednn_custom_call'
# Older versions ignore the flag, and one that doesn't know it ends the process.
_VERSIONS = ((0, 11), (0, 12))


def ask(engine: str) -> None:
  """Asks for it, if it helps here; call it before JAX makes its first array.

  Args:
    engine: as the config has it: 'auto', 'native', 'rewritten' or 'xla'.
  """
  is_needed = engine == 'rewritten' or (
    engine == 'auto' and bool(native.missing())
  )
  is_known = jaxlib.version.__version_info__[:2] in _VERSIONS
  flags = os.environ.get('XLA_FLAGS', '').strip()
  is_file = bool(flags) and not flags.startswith('-')  # Which has the flags.
  if not is_needed or not is_known or is_file or _has_plugin():
    return
  if native.has_fast_bfloat16():
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}=true'.strip()


def _has_plugin() -> bool:
  """Tells whether JAX may find another device than the CPU, without asking."""
  return bool(
    importlib.util.find_spec('jax_plugins')
    or importlib.metadata.entry_points(group='jax_plugins')
  )


def is_on() -> bool:
  """Tells whether it was asked for, by us or by the user."""
  flags = os.environ.get('XLA_FLAGS', '')
  values = re.findall(rf'{_FLAG}(?:=(\S*))?(?:\s|$)', flags)
  return bool(values) and values[-1].lower() in ('', 'true', '1')

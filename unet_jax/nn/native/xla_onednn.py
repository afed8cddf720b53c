"""oneDNN inside of XLA's CPU backend, an option that is off by default.

It multiplies bfloat16 at least twice as fast as XLA itself, so we turn it on
where the native operations can't be had. Beware: on CPUs with AMX its gradient
of a 3x3 kernel is silently wrong (cosine 0 to the float32 one, jax 0.12); the
engine 'rewritten' of conv.py avoids that gradient.
"""

import importlib.metadata
import importlib.util
import os
import re

import jaxlib

from unet_jax.nn.native import cpu, native

_FLAG = '--xla_cpu_experimental_onednn_custom_call'
# Older versions of jaxlib ignore the flag; a newer one may no longer know it,
# and XLA ends the process at an unknown flag.
_VERSIONS = ((0, 11), (0, 12))


def ask(engine: str) -> None:
  """Sets the flag, if it helps here; call it before JAX makes its first array.

  Args:
    engine: config.engine: 'auto', 'native', 'rewritten' or 'xla'.
  """
  is_needed = engine == 'rewritten' or (
    engine == 'auto' and bool(native.missing())
  )
  is_known = jaxlib.version.__version_info__[:2] in _VERSIONS
  flags = os.environ.get('XLA_FLAGS', '').strip()
  is_file = bool(flags) and not flags.startswith('-')  # A file has them.
  if not is_needed or not is_known or is_file or _has_plugin():
    return
  if cpu.has_fast_bfloat16():
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}=true'.strip()


def _has_plugin() -> bool:
  """Returns whether JAX may find a device besides the CPU, without asking."""
  return bool(
    importlib.util.find_spec('jax_plugins')
    or importlib.metadata.entry_points(group='jax_plugins')
  )


def is_on() -> bool:
  """Returns whether the flag is set, by `ask` or by the user."""
  flags = os.environ.get('XLA_FLAGS', '')
  values = re.findall(rf'{_FLAG}(?:=(\S*))?(?:\s|$)', flags)
  return bool(values) and values[-1].lower() in ('', 'true', '1')

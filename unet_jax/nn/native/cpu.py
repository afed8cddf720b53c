"""The CPU as this process has it: its cores, its memory, its fast types."""

import ctypes
import os

import jax

from unet_jax import cache

# mallopt's options, numbered as in malloc.h: M_MMAP_MAX (no separate mappings
# for large blocks), M_TRIM_THRESHOLD (give nothing back to the system),
# M_ARENA_MAX (one heap for all threads).
_KEEP = {-4: 0, -1: -1, -8: 1}


def keep_memory() -> None:
  """Makes the C library keep freed memory, for the next step to use again.

  By default every step gets its buffers as fresh pages, which the system
  zeroes first: a tenth of a step's time and more. Call it before JAX makes its
  first array: it has no effect later. The process then stays at its largest
  size.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt:  # Only the GNU C library has it.
    for option, value in _KEEP.items():
      mallopt(option, value)


def has_fast_bfloat16() -> bool:
  """Returns whether the CPU multiplies bfloat16 faster than float32.

  AMX and AMD's AVX-512 do, at twice the rate. With Intel's AVX-512 alone, a
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

"""Properties of the CPU: cores of this process, memory, fast types."""

import ctypes
import os

import jax

from unet_jax import cache

# mallopt's options, with the numbers of malloc.h.
_KEEP = {
  -4: 0,  # M_MMAP_MAX: no separate mappings for large blocks.
  -1: -1,  # M_TRIM_THRESHOLD: return no memory to the system.
  -8: 1,  # M_ARENA_MAX: one heap for all threads.
}


def keep_memory() -> None:
  """Makes the C library keep freed memory, so that the next step reuses it.

  By default every step gets its buffers as fresh pages, which the system zeroes
  first; that takes a tenth of a step's time or more. Call this function before
  JAX makes its first array; later it has no effect. The process then never
  shrinks.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt:  # Only the GNU C library has it.
    for option, value in _KEEP.items():
      mallopt(option, value)


def has_fast_bfloat16() -> bool:
  """Returns whether the CPU multiplies bfloat16 faster than float32.

  AMX and AMD's AVX-512 multiply at twice the rate. With Intel's AVX-512 but no
  AMX, a step in bfloat16 took 1.5 times as long as in float32.
  """
  features = cache.cpu_features()
  is_amd = cache.cpu_vendor() == 'AuthenticAMD'
  return 'amx_bf16' in features or (is_amd and 'avx512_bf16' in features)


def num_threads() -> int:
  """Returns how many threads a call uses: a device's share of the cores."""
  return max(1, num_cores() // jax.local_device_count('cpu'))


def num_cores() -> int:
  """Returns how many cores this process may use, at most OMP_NUM_THREADS."""
  limit = os.environ.get('OMP_NUM_THREADS', '').split(',')[0]
  cores = len(os.sched_getaffinity(0))
  return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores

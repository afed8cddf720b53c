"""XLA's compiler options for convolutions on CUDA.

By default XLA compiles and times every plan that cuDNN's heuristics propose,
2,249 for a U-Net of depth 4; the first ten steps on an H100 took over 150 s.
With these options convolutions are cuDNN graphs with at most five plans each.
The same step compiled in 6 to 8 s on an H200, and then took less time than
PyTorch's, eager or compiled.
"""

import functools
import os
import pathlib
import re

import jax
import jaxlib

CUDA_OPTIONS = {
  # Convolutions as cuDNN graphs rather than custom calls.
  'xla_gpu_experimental_enable_conv_fusion': True,
  # Tuning compiles and times some 60 fusions twice each, for no gain.
  'xla_gpu_experimental_enable_fusion_autotuner': False,
  # cuBLASLt's matrix products, unlike Triton's, are tuned without compiling.
  'xla_gpu_enable_triton_gemm': False,
}


@functools.cache
def options() -> dict[str, bool]:
  """Returns the `compiler_options` of jax.jit for this machine's devices.

  Options that the user's XLA_FLAGS set are left out, and so are those that this
  jaxlib does not know (see `problem`). Empty unless JAX runs on CUDA.
  """
  return {k: v for k, v in _wanted().items() if _is_known(k, v)}


def problem() -> str:
  """Returns a warning about options that this jaxlib does not know, or ''."""
  unknown = _wanted().keys() - options().keys()
  if not unknown:
    return ''
  return (
    f'jaxlib {jaxlib.__version__} does not know {", ".join(sorted(unknown))}: '
    'compiling and training may take much longer; install another version of '
    'jax'
  )


def _wanted() -> dict[str, bool]:
  if 'cuda' not in jax.devices()[0].client.platform_version.lower():
    return {}
  user = _user_flags()
  return {k: v for k, v in CUDA_OPTIONS.items() if f'--{k}' not in user}


def _user_flags() -> set[str]:
  """Returns the flags (--name) in XLA_FLAGS, or in the file that it names."""
  text = os.environ.get('XLA_FLAGS', '').strip()
  if text and not text.startswith('-'):
    path = pathlib.Path(text)
    text = path.read_text() if path.is_file() else ''
  return set(re.findall(r'--\w+', text))


def _is_known(name: str, value: bool) -> bool:
  """Returns whether XLA accepts an option, by compiling a trivial program."""
  try:
    jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
  except jax.errors.JaxRuntimeError as error:
    if 'No such compile option' not in str(error):
      raise
    return False
  return True

"""XLA's options on CUDA: used if jaxlib knows them and the user sets none."""

import types

import jax
import jax.numpy as jnp
import pytest

from unet_jax import compiler, parallel

NAMES = [
  'xla_gpu_enable_triton_gemm',
  'xla_gpu_experimental_enable_conv_fusion',
  'xla_gpu_experimental_enable_fusion_autotuner',
]


@pytest.fixture
def cuda(monkeypatch):
  """Makes the devices look like CUDA's; the jaxlib is the real one."""
  client = types.SimpleNamespace(platform_version='PJRT C API\ncuda 12090')
  devices = [types.SimpleNamespace(client=client)]
  monkeypatch.setattr(compiler.jax, 'devices', lambda: devices)
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  compiler.options.cache_clear()
  yield
  compiler.options.cache_clear()


def test_a_cpu_gets_no_options():
  compiler.options.cache_clear()
  assert compiler.options() == {}
  assert not compiler.problem()


def test_this_jaxlib_knows_all_options(cuda):
  assert sorted(compiler.options()) == NAMES
  assert not compiler.problem()


@pytest.mark.parametrize('in_file', [False, True])
def test_options_that_the_user_sets_are_left_out(
  cuda, monkeypatch, tmp_path, in_file
):
  flags = '--xla_gpu_enable_triton_gemm=true --xla_dump_to=/nowhere'
  path = tmp_path / 'flags'
  path.write_text(flags)
  monkeypatch.setenv('XLA_FLAGS', str(path) if in_file else flags)
  assert sorted(compiler.options()) == NAMES[1:]
  assert not compiler.problem()


def test_an_unknown_option_is_left_out_and_named(cuda, monkeypatch):
  name = 'xla_gpu_that_never_was'
  monkeypatch.setitem(compiler.CUDA_OPTIONS, name, True)
  assert sorted(compiler.options()) == NAMES
  assert name in compiler.problem()


def test_a_mapped_step_is_compiled_with_the_options(monkeypatch):
  name = 'xla_gpu_that_never_was'
  monkeypatch.setattr(parallel.compiler, 'options', lambda: {name: True})
  step = parallel.map_step(lambda state, batch: state + batch.sum())
  with pytest.raises(jax.errors.JaxRuntimeError, match=name):
    step(jnp.zeros(()), jnp.zeros((jax.device_count(), 2)))

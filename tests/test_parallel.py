"""The first weights do not depend on the platform."""

import jax
import numpy as np
import pytest

from unet_jax import parallel
from unet_jax.data import sources
from unet_jax.training import setup


@pytest.fixture(scope='module')
def init(load_config):
  stats = sources.Stats(('a', 'b'), (128.0,) * 3, (64.0,) * 3)
  return setup.make_run(load_config('multiclass:tiny'), stats).init


@pytest.mark.parametrize('has_cpu', [True, False])
def test_first_weights_of_another_platform_are_the_cpus(
  init, monkeypatch, has_cpu
):
  expected = parallel.replicate(init())
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(parallel, '_has_cpu', lambda: has_cpu)
  state = parallel.on_host(init)
  is_numpy = [isinstance(x, np.ndarray) for x in jax.tree.leaves(state.params)]
  assert all(is_numpy) == has_cpu
  placed = parallel.replicate(state)
  assert jax.tree.structure(placed) == jax.tree.structure(expected)
  for a, b in zip(*map(jax.tree.leaves, (placed, expected)), strict=True):
    assert (a.dtype, a.sharding) == (b.dtype, b.sharding)
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_array_equal(a, b)

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_conv import cosine, engine_params, relative

from unet_jax.nn import norm


class Reference(nn.Module):
  """Flax's batch norm, then ReLU, with the same parameter names."""

  @nn.compact
  def __call__(self, x, *, train):
    layer = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.9,
      axis_name='data',
      use_fast_variance=False,
      name='norm',
    )
    return nn.relu(layer(x))


class Ours(nn.Module):
  engine: str

  @nn.compact
  def __call__(self, x, *, train):
    layer = norm.BatchNormRelu(
      x.shape[-1], axis_name='data', engine=self.engine, name='norm'
    )
    return layer(x, train=train)


def variables_and_example(channels):
  rng = np.random.default_rng(0)

  def draw(*s):
    return jnp.asarray(rng.normal(size=s), jnp.float32)

  variables = {
    'params': {'norm': {'scale': draw(channels) + 2, 'bias': draw(channels)}},
    'batch_stats': {
      'norm': {'mean': draw(channels), 'var': jnp.square(draw(channels)) + 1}
    },
  }
  x = 2 * draw(8, 6, 5, channels) + 3
  return variables, x, draw(8, 6, 5, channels)


def step(module, devices, variables, x, target):
  """Returns y, running statistics and gradients, as a training step does."""

  def per_device(params, x, target):
    def loss_fn(params, x):
      y, updated = module.apply(
        {**variables, 'params': params},
        x,
        train=True,
        mutable=['batch_stats'],
      )
      total = jnp.sum(y.astype(jnp.float32) * target)
      loss = jnp.square(jax.lax.psum(total, 'data')) / 1e4
      return loss, (y, updated)

    gradient = jax.grad(loss_fn, argnums=(0, 1), has_aux=True)
    (dparams, dx), aux = gradient(params, x)
    dparams, updated = jax.lax.pmean((dparams, aux[1]), 'data')
    return aux[0], updated, dparams, dx / devices

  def shard(a):
    return a.reshape(devices, -1, *a.shape[1:])

  run = jax.pmap(
    per_device,
    axis_name='data',
    in_axes=(None, 0, 0),
    devices=jax.devices()[:devices],
  )
  y, *replicated, dx = run(variables['params'], shard(x), shard(target))
  whole = [a.reshape(x.shape) for a in (y, dx)]
  return whole + [a[0] for a in jax.tree.leaves(replicated)]


@pytest.mark.parametrize('devices', [1, 4])
@pytest.mark.parametrize('engine', engine_params())
@pytest.mark.parametrize('channels', [3, 64])
def test_equals_flax_on_any_number_of_devices(channels, engine, devices):
  variables, x, target = variables_and_example(channels)
  expected = step(Reference(), 1, variables, x, target)
  got = step(Ours(engine), devices, variables, x, target)
  for a, b in zip(expected, got, strict=True):
    assert relative(a, b) < 2e-5


@pytest.mark.parametrize('engine', engine_params())
def test_bfloat16_keeps_float32_statistics(engine):
  variables, x, target = variables_and_example(40)
  expected = step(Reference(), 1, variables, x, target)
  half = x.astype(jnp.bfloat16)
  got = step(Ours(engine), 1, variables, half, target)
  assert got[0].dtype == got[1].dtype == jnp.bfloat16
  for a, b in zip(expected, got, strict=True):
    assert cosine(a, b) > 0.999


@pytest.mark.parametrize('engine', engine_params())
def test_inference_uses_the_running_statistics(engine):
  variables, x, _ = variables_and_example(20)
  expected = Reference().apply(variables, x, train=False)
  got = Ours(engine).apply(variables, x, train=False)
  assert relative(expected, got) < 1e-5


@pytest.mark.parametrize('engine', engine_params())
def test_variance_survives_a_large_mean(engine):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(4, 16, 16, 8)) + 3000, jnp.float32)
  y, mean, var = norm.batch_norm_relu(
    x, jnp.ones(8), jnp.zeros(8), norm.Settings(1e-5, None, engine)
  )
  exact = np.asarray(x, np.float64)
  np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize('engine', engine_params())
def test_a_nan_is_not_hidden(engine):
  x = jnp.ones((1, 4, 4, 3)).at[0, 1, 2, 1].set(jnp.nan)
  settings = norm.Settings(1e-5, None, engine)
  y, _, _ = norm.batch_norm_relu(x, jnp.ones(3), jnp.zeros(3), settings)
  assert np.isnan(y[..., 1]).all()
  assert np.isfinite(y[..., 0]).all()
  assert np.isnan(norm.max_pool2x2(x, engine=engine)[0, 0, 1, 1])


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('shape', [(2, 6, 8, 16), (1, 7, 9, 5)])
def test_pool_is_xlas_with_ties(shape, dtype):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.integers(0, 3, shape), dtype)
  expected, vjp = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
  got, our_vjp = jax.vjp(lambda x: norm.max_pool2x2(x, engine='cudnn'), x)
  dy = jnp.asarray(rng.normal(size=got.shape), dtype)
  np.testing.assert_array_equal(expected, got)
  np.testing.assert_array_equal(vjp(dy)[0], our_vjp(dy)[0])

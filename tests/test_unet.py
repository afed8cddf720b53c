import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.nn import unet


def init(model, shape):
  image = jnp.zeros(shape)
  return jax.jit(model.init)(jax.random.key(0, impl='rbg'), image)


@pytest.mark.parametrize(
  'shape', [(1, 16, 16, 1), (2, 13, 19, 3), (1, 1, 1, 3)]
)
def test_logits_have_the_size_of_the_image(shape):
  model = unet.UNet(num_planes=3, depth=2, width=4)
  variables = init(model, shape)
  logits = model.apply(variables, jnp.ones(shape))
  assert logits.shape == (*shape[:3], 3)
  assert logits.dtype == jnp.float32


def test_parts_are_named_as_documented():
  variables = init(unet.UNet(num_planes=3, depth=2, width=4), (1, 8, 8, 3))
  assert set(variables['params']) == {
    *('down0', 'down1', 'bottleneck', 'up0', 'up1', 'merge0', 'merge1', 'head')
  }


@pytest.mark.parametrize('depth', [3, 4])
def test_parameters_are_those_of_the_layers_by_hand(depth):
  width, channels, planes = 16, 3, 2
  widths = [width * 2**i for i in range(depth + 1)]

  def block(before, after):
    # Two 3x3 kernels without bias, and scale and bias of two norms.
    return 9 * before * after + 9 * after * after + 4 * after

  count = block(channels, width) + width * planes + planes
  for small, large in zip(widths[:-1], widths[1:], strict=True):
    count += block(small, large)  # Down.
    count += 4 * large * small + small  # Up.
    count += block(2 * small, small)  # Merge.
  model = unet.UNet(num_planes=planes, depth=depth, width=width)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3))
  )
  assert sum(x.size for x in jax.tree.leaves(shapes['params'])) == count


@pytest.mark.parametrize('norm', ['batch', 'group', 'none'])
def test_bfloat16_computes_in_it_and_keeps_float32_parameters(norm):
  model = unet.UNet(
    num_planes=2, depth=1, width=4, norm=norm, dtype=jnp.bfloat16
  )
  variables = init(model, (1, 8, 8, 3))
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  image = jnp.asarray(np.random.default_rng(0).random((1, 8, 8, 3), np.float32))
  low = model.apply(variables, image)
  high = model.clone(dtype=jnp.float32).apply(variables, image)
  assert low.dtype == jnp.float32
  np.testing.assert_allclose(low, high, atol=0.05 * np.abs(high).max())
  assert np.any(low != high)


def test_an_image_is_padded_by_its_edge_not_by_zero():
  model = unet.UNet(num_planes=1, depth=2, width=4)
  variables = init(model, (1, 8, 8, 1))
  image = jnp.full((1, 6, 6, 1), 5.0)
  padded = jnp.full((1, 8, 8, 1), 5.0)
  np.testing.assert_allclose(
    model.apply(variables, image), model.apply(variables, padded)[:, :6, :6]
  )

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.nn import dropout, tutorial_unet, unet
from unet_jax.nn.native import native

MODELS = {
  'unet': functools.partial(unet.UNet, dilated=1),
  'residual': functools.partial(unet.UNet, residual=True),
  'tutorial': functools.partial(tutorial_unet.TutorialUNet, dilated=1),
  'tutorial_vessels': functools.partial(
    tutorial_unet.TutorialUNet, dilated=1, narrow=True
  ),
  'tutorial_lesions': functools.partial(
    tutorial_unet.TutorialUNet, two_bottlenecks=True
  ),
}


def init(model, shape):
  """Returns variables of the model's shapes and dtypes, without compiling."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))

  def draw(path, x):
    if path[-1].key == 'kernel':
      return random(x.shape) * (2 / math.prod(x.shape[:-1])) ** 0.5
    return np.full(x.shape, path[-1].key in ('scale', 'var'), x.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def apply(model, variables, image, **settings):
  return jax.jit(model.apply)(variables, image, **settings)


def random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stir(variables):
  """Changes every variable, so that biases and statistics matter."""
  leaves, tree = jax.tree.flatten(variables)
  return tree.unflatten(
    [x + 0.1 * np.abs(random(x.shape, i)) for i, x in enumerate(leaves)]
  )


@pytest.mark.parametrize(
  'shape', [(1, 16, 16, 1), (2, 13, 19, 3), (1, 1, 1, 3)]
)
@pytest.mark.parametrize('name', MODELS)
def test_logits_have_the_size_of_the_image(name, shape):
  model = MODELS[name](num_planes=3, depth=2, width=4)
  variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones(shape))
  logits = jax.eval_shape(model.apply, variables, jnp.ones(shape))
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
  low = apply(model, variables, image)
  high = apply(model.clone(dtype=jnp.float32), variables, image)
  assert low.dtype == jnp.float32
  np.testing.assert_allclose(low, high, atol=0.05 * np.abs(high).max())
  assert np.any(low != high)


@pytest.mark.parametrize('name', ['residual', 'tutorial_vessels'])
def test_other_models_compute_in_bfloat16_as_well(name):
  model = MODELS[name](num_planes=2, depth=1, width=4, dtype=jnp.bfloat16)
  image = random((1, 8, 8, 3))
  variables = stir(init(model, image.shape))
  low = apply(model, variables, image)
  high = apply(model.clone(dtype=jnp.float32), variables, image)
  assert low.dtype == jnp.float32
  np.testing.assert_allclose(low, high, atol=0.05 * np.abs(high).max())
  assert np.any(low != high)


def test_an_image_is_padded_by_its_edge_not_by_zero():
  model = unet.UNet(num_planes=1, depth=2, width=4)
  variables = init(model, (1, 8, 8, 1))
  image = jnp.full((1, 6, 6, 1), 5.0)
  padded = jnp.full((1, 8, 8, 1), 5.0)
  np.testing.assert_allclose(
    apply(model, variables, image), apply(model, variables, padded)[:, :6, :6]
  )


# The models' options.


@pytest.mark.parametrize('engine', ['rewritten', 'native'])
@pytest.mark.parametrize('name', ['unet', 'residual', 'tutorial_vessels'])
def test_every_engine_computes_the_same(name, engine):
  if engine == 'native' and native.problem():
    pytest.skip(native.problem())  # test_conv checks where it must be built.
  model = MODELS[name](num_planes=2, depth=1, width=4)
  image = random((2, 6, 8, 3))
  variables = stir(init(model, image.shape))

  def loss_and_grads(engine):
    def loss_fn(params):
      logits, _ = model.clone(engine=engine).apply(
        variables | {'params': params},
        image,
        train=True,
        mutable=['batch_stats'],
      )
      return jnp.square(logits).mean()

    return jax.jit(jax.value_and_grad(loss_fn))(variables['params'])

  want, got = loss_and_grads('xla'), loss_and_grads(engine)
  for a, b in zip(*map(jax.tree.leaves, (want, got)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def residual_block():
  return unet.ConvBlock(
    features=4,
    norm='batch',
    dtype=jnp.float32,
    engine='xla',
    axis_name=None,
    residual=True,
  )


def test_a_residual_block_adds_its_input():
  block = residual_block()
  x = random((1, 4, 4, 4))
  variables = block.init(jax.random.key(0, impl='rbg'), x, False)
  assert 'shortcut' not in variables['params']
  kernel = variables['params']['conv1']['kernel']
  variables['params']['conv1']['kernel'] = jnp.zeros_like(kernel)
  np.testing.assert_array_equal(block.apply(variables, x, False), x)
  wide = random((1, 4, 4, 6))
  variables = block.init(jax.random.key(0, impl='rbg'), wide, False)
  assert variables['params']['shortcut']['kernel'].shape == (1, 1, 6, 4)


def test_a_residual_unit_is_that_of_the_paper():
  model = residual_block()
  x = random((1, 5, 5, 3))
  variables = stir(model.init(jax.random.key(0, impl='rbg'), x, False))
  y = x
  for i in range(2):
    y = convolve(
      jax.nn.relu(batch_norm(variables, f'norm{i}', y, 1e-5)),
      variables['params'][f'conv{i}'],
    )
  want = convolve(x, variables['params']['shortcut']) + y
  np.testing.assert_allclose(
    model.apply(variables, x, False), want, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('residual', [False, True])
def test_dilation_spreads_the_taps_on_the_way_down(residual):
  sizes = {}
  for dilated in (0, 1):
    model = unet.UNet(
      num_planes=1, depth=1, width=2, norm='none', residual=residual
    ).clone(dilated=dilated)
    variables = stir(init(model, (1, 48, 48, 1)))
    assert variables['params']['down0']['conv0']['kernel'].shape[:2] == (3, 3)

    def centre(image, model=model, variables=variables):
      return model.apply(variables, image)[0, 24, 24, 0]

    grads = jax.jit(jax.grad(centre))(random((1, 48, 48, 1)))
    rows = np.flatnonzero(np.any(grads[0, ..., 0] != 0, axis=1))
    sizes[dilated] = rows.max() - rows.min() + 1
  # With dilation, two 3x3 convolutions reach 2 pixels further on either side.
  assert sizes[1] >= sizes[0] + 4


# The tutorial's networks against Keras' layers, written out.


def convolve(x, layer, *, dilation=1):
  y = jax.lax.conv_general_dilated(
    x,
    layer['kernel'],
    (1, 1),
    'SAME',
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  return y + layer['bias'][None, None, None] if 'bias' in layer else y


def batch_norm(variables, name, x, epsilon):
  layer, stats = variables['params'][name], variables['batch_stats'][name]
  scale, bias, mean, var = (
    a[None, None, None]
    for a in (layer['scale'], layer['bias'], stats['mean'], stats['var'])
  )
  return (x - mean) / np.sqrt(var + epsilon) * scale + bias


@pytest.mark.parametrize(
  ('name', 'down'),
  [
    ('tutorial_vessels', ('down0', 'down1', 'bottleneck')),
    ('tutorial_lesions', ('down0', 'down1', 'bottleneck', 'bottleneck1')),
  ],
)
def test_tutorials_layers_are_those_of_its_keras_code(name, down):
  model = MODELS[name](num_planes=2, depth=2, width=4)
  image = random((1, 8, 8, 1))
  variables = stir(init(model, image.shape))
  x, skips, params = image, [], variables['params']
  for part in down:
    scope = {kind: tree[part] for kind, tree in variables.items()}
    for i in range(2):
      dilation = 2 if part == 'down0' and 'vessels' in name else 1
      x = convolve(x, scope['params'][f'conv{i}'], dilation=dilation)
      x = batch_norm(scope, f'norm{i}', np.maximum(x, 0), 1e-3)
    if part.startswith('down'):
      skips.append(x)
      b, h, w, c = x.shape
      x = x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
  for i in (1, 0):
    x = np.kron(x, np.ones((1, 2, 2, 1), np.float32))
    x = np.maximum(convolve(x, params[f'up{i}']), 0)
    x = np.concatenate([skips[i], x], axis=-1)
    for j in range(2):
      x = np.maximum(convolve(x, params[f'merge{i}'][f'conv{j}']), 0)
  if 'vessels' in name:
    x = np.maximum(convolve(x, params['narrow']), 0)
    assert x.shape[-1] == 2
  want = convolve(x, params['head'])
  np.testing.assert_allclose(
    apply(model, variables, image), want, rtol=1e-4, atol=1e-4
  )


# Dropout.


def test_dropout_keeps_the_mean_and_drops_its_share():
  x = np.ones((2, 64, 64, 8), np.float32)
  rngs = jax.random.split(jax.random.key(0), 2)
  y = np.asarray(dropout.sample_dropout(rngs, x, rate=0.25, layer=0))
  assert set(np.unique(y)) == {0, np.float32(4 / 3)}
  # 65,536 draws have a standard deviation of 0.0017.
  assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)
  assert np.any(y[0] != y[1])
  other = dropout.sample_dropout(rngs, x, rate=0.25, layer=1)
  assert np.any(other != y)


def test_dropout_of_a_sample_does_not_depend_on_its_batch():
  x = random((4, 4, 4, 2))
  rngs = jax.random.split(jax.random.key(0), 4)
  whole = dropout.sample_dropout(rngs, x, rate=0.5, layer=0)
  part = dropout.sample_dropout(rngs[2:3], x[2:3], rate=0.5, layer=0)
  np.testing.assert_array_equal(whole[2:3], part)


@pytest.mark.parametrize('name', ['unet', 'tutorial'])
def test_dropout_is_off_outside_training(name):
  model = MODELS[name](num_planes=1, depth=1, width=4, dropout=0.5)
  image = random((2, 8, 8, 1))
  variables = init(model, image.shape)
  rngs = jax.random.split(jax.random.key(0), 2)
  without = apply(model, variables, image)
  np.testing.assert_array_equal(
    without, apply(model.clone(dropout=0.0), variables, image, rng_dropout=rngs)
  )
  dropped = apply(model, variables, image, rng_dropout=rngs)
  assert np.any(dropped != without)

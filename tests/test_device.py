"""The operations on the devices that run them, against float32 on the CPU.

`UNET_JAX_TEST_PLATFORM=cuda pytest -m device` runs these tests on a GPU. On a
CPU they compare the CPU's bfloat16 with its float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax import build, defaults
from unet_jax.data import labels
from unet_jax.nn import augment, conv, norm, objective, unet
from unet_jax.training import parts
from unet_jax.training import step as step_lib

pytestmark = pytest.mark.device

CPU = jax.local_devices(backend='cpu')[0]
DEVICE = jax.local_devices()[0]
# The engine of GPUs; on a CPU it runs as well, and is XLA's own.
ENGINE = 'cudnn'
SETTINGS = norm.Settings(epsilon=1e-5, axis_name=None, engine=ENGINE)
SHAPE = (2, 16, 16)


def convolve(x, kernel, **options):
  return conv.conv(x, kernel, engine=ENGINE, **options)


# Name -> a function, and the shapes of its float32 arguments; the first
# argument is the image, whose type the device test chooses.
OPERATIONS = {
  'first convolution': (convolve, [(*SHAPE, 3), (3, 3, 3, 16)]),
  'convolution': (convolve, [(*SHAPE, 16), (3, 3, 16, 32)]),
  'dilated convolution': (
    functools.partial(convolve, dilation=2),
    [(*SHAPE, 16), (3, 3, 16, 16)],
  ),
  'head': (
    functools.partial(convolve, out_dtype=jnp.float32),
    [(*SHAPE, 16), (1, 1, 16, 3)],
  ),
  'up-convolution': (
    functools.partial(conv.up_conv, engine=ENGINE),
    [(*SHAPE, 16), (2, 2, 16, 8)],
  ),
  'pooling': (
    functools.partial(norm.max_pool2x2, engine=ENGINE),
    [(*SHAPE, 16)],
  ),
  'batch norm': (
    lambda x, scale, bias: norm.batch_norm_relu(x, scale, bias, SETTINGS)[0],
    [(*SHAPE, 16), (16,), (16,)],
  ),
  'fixed norm': (
    lambda x, factor, offset: norm.affine_relu(x, factor, offset, ENGINE),
    [(*SHAPE, 16), (16,), (16,)],
  ),
}


def draw(shapes, seed=0):
  """Draws float32 arrays whose values bfloat16 has."""
  rng = np.random.default_rng(seed)
  arrays = (rng.normal(size=shape) for shape in shapes)
  return [np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32) for x in arrays]


def run_on(device, function, args):
  """Runs a compiled function of arrays on one device; returns NumPy's."""
  with jax.default_matmul_precision('highest'):
    result = jax.jit(function)(*jax.device_put(args, device))
  return jax.device_get(result)


def cosine(a, b):
  a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
  return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize('name', OPERATIONS)
def test_an_operation_and_its_gradients_are_right_in_bfloat16(name):
  operation, shapes = OPERATIONS[name]
  args = draw(shapes)
  result = jax.eval_shape(operation, *args)
  (cotangent,) = draw([result.shape], seed=1)

  def outputs(dtype, image, cotangent, *rest):
    y, vjp = jax.vjp(operation, image.astype(dtype), *rest)
    return y, *vjp(cotangent.astype(y.dtype))

  ordered = [args[0], cotangent, *args[1:]]
  exact = run_on(CPU, functools.partial(outputs, jnp.float32), ordered)
  got = run_on(DEVICE, functools.partial(outputs, jnp.bfloat16), ordered)
  for a, b in zip(got, exact, strict=True):
    assert a.shape == b.shape
    assert cosine(a, b) > 0.999


def make_gradients(dtype):
  """Returns (images, labels) -> a small U-Net's gradients, as one vector."""
  classes = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
  model = unet.UNet(
    num_planes=3, depth=2, width=8, dtype=jnp.dtype(dtype), engine=ENGINE
  )
  loss_of = objective.make_loss(exclusive=True, **defaults.get_config().loss)
  preprocess_fn = build.make_preprocess(classes, (128.0,) * 3, (64.0,) * 3)
  with jax.default_device(CPU):
    rng = jax.random.key(0, impl='rbg')
    variables = jax.jit(model.init)(rng, jnp.zeros((1, 16, 16, 3)))
  variables = jax.device_get(variables)

  def gradients(image, label):
    state = step_lib.init_state(
      model.apply, variables, optax.sgd(0.1), jax.random.key(1)
    )
    _, _, grads = step_lib.loss_and_grads(
      state,
      preprocess_fn(image, label),
      step_lib.dropout_rngs(state.rng, jnp.arange(len(image))),
      loss_of=loss_of,
      accumulate=1,
      stages=parts.ALL_TRAIN,
      axis_name=None,
    )
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(grads)])

  return gradients


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 3, (4, 8, 8), np.uint8)
  label = coarse.repeat(4, axis=1).repeat(4, axis=2)
  noise = rng.integers(0, 60, (4, 32, 32, 3))
  image = (60 * label[..., None].astype(int) + noise).astype(np.uint8)
  return image, label


def test_all_gradients_are_right(batch):
  exact = run_on(CPU, make_gradients('float32'), batch)
  on_cpu = run_on(CPU, make_gradients('bfloat16'), batch)
  assert (
    cosine(run_on(DEVICE, make_gradients('float32'), batch), exact) > 0.9999
  )
  # Rounding to bfloat16 costs the CPU as much.
  got = run_on(DEVICE, make_gradients('bfloat16'), batch)
  assert cosine(got, exact) > cosine(on_cpu, exact) - 0.01


def test_augmentation_is_the_cpus(batch):
  config = defaults.get_config()
  config.augment.update(elastic=0.5, shear_range=5.0, gamma=0.2, blur=0.5)
  config.image_size = 16
  ranges = augment.Ranges(**config.augment)
  assert augment.window_size(16, ranges) <= 32
  change = functools.partial(augment.augment, size=16, ranges=ranges)

  def augmented(image, label):
    index = jnp.arange(len(image))
    rngs = augment.sample_rngs(jax.random.key(3), index)
    return jax.vmap(change)(rngs, image, label)

  images, masks = zip(
    *(run_on(device, augmented, batch) for device in (CPU, DEVICE)),
    strict=True,
  )
  assert np.mean(masks[0] != masks[1]) <= 1e-3
  assert np.mean(np.abs(images[0] - images[1]) > 1) <= 1e-3

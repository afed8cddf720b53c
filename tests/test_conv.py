import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import cache
from unet_jax.nn import conv, norm
from unet_jax.nn.native import build, cpu, native, xla_onednn

# Batch, height, width, parts of C, K, kernel size, dilation.
SHAPES = [
  (2, 16, 16, (32,), 64, 3, 1),
  (1, 7, 9, (1,), 5, 3, 1),
  (2, 13, 11, (3,), 32, 3, 2),
  (2, 12, 8, (24, 16), 32, 3, 1),
  (1, 9, 9, (64,), 4, 1, 1),
  (1, 6, 10, (5, 3), 7, 5, 3),
  (2, 8, 8, (128,), 144, 3, 2),
  (1, 1, 1, (16,), 16, 3, 1),
  # Few channels, for kernel_gradient.h: rows of several images, and odd widths.
  (3, 40, 33, (32, 16), 48, 3, 1),
  (2, 5, 1025, (8,), 32, 3, 1),
]


def expects_native():
  """Returns whether a compiler and oneDNN are here, without `native`."""
  header = pathlib.Path(sys.prefix, 'include/oneapi/dnnl/dnnl.hpp').exists()
  return sys.platform == 'linux' and header and bool(shutil.which('g++'))


needs_native = pytest.mark.skipif(
  not expects_native(), reason='no oneDNN in this environment'
)


def engine_params():
  return ['xla', 'rewritten', pytest.param('native', marks=needs_native)]


def example(shape, dtype=jnp.float32):
  """Returns parts of x, a kernel and a gradient of y."""
  batch, height, width, parts, features, size, _ = shape
  rng = np.random.default_rng(0)

  def draw(*s):
    return jnp.asarray(rng.normal(size=s), jnp.float32)

  xs = tuple(draw(batch, height, width, c) for c in parts)
  kernel = draw(size, size, sum(parts), features) / size
  dy = draw(batch, height, width, features)
  return jax.tree.map(lambda a: a.astype(dtype), (xs, kernel, dy))


def outputs(xs, kernel, dy, dilation, engine):
  """Returns y and the gradients of the parts and of the kernel."""
  y, vjp = jax.vjp(
    lambda xs, k: conv.conv(xs, k, dilation=dilation, engine=engine), xs, kernel
  )
  return [y, *jax.tree.leaves(vjp(dy))]


def truth(xs, kernel, dy, dilation):
  """Returns the same from XLA alone, on the concatenation."""

  def apply(xs, kernel):
    return jax.lax.conv_general_dilated(
      jnp.concatenate(xs, -1),
      kernel,
      (1, 1),
      'SAME',
      rhs_dilation=(dilation, dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision='highest',
    )

  y, vjp = jax.vjp(apply, xs, kernel)
  return [y, *jax.tree.leaves(vjp(dy))]


def cosine(a, b):
  a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
  return a @ b / np.sqrt((a @ a) * (b @ b))


def relative(a, b):
  a, b = (np.asarray(x, np.float64) for x in (a, b))
  return np.abs(a - b).max() / np.abs(a).max()


def test_native_is_built_where_it_can_be():
  assert not expects_native() or native.problem() == ''


@pytest.mark.parametrize('engine', engine_params())
@pytest.mark.parametrize('shape', SHAPES)
def test_engine_gives_what_xla_gives_in_float32(shape, engine):
  arrays = example(shape)
  got = jax.jit(outputs, static_argnums=(3, 4))(*arrays, shape[-1], engine)
  for a, b in zip(truth(*arrays, shape[-1]), got, strict=True):
    assert relative(a, b) < 1e-5


def test_cudnn_computes_what_xla_does():
  arrays = example(SHAPES[0])
  run = jax.jit(outputs, static_argnums=(3, 4))
  got = run(*arrays, SHAPES[0][-1], 'cudnn')
  for a, b in zip(run(*arrays, SHAPES[0][-1], 'xla'), got, strict=True):
    assert relative(a, b) < 1e-5


@pytest.mark.parametrize('engine', ['xla', 'rewritten'])
@pytest.mark.parametrize('shape', SHAPES)
def test_engine_is_right_in_bfloat16(shape, engine):
  check_bfloat16(shape, engine)


@needs_native
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('is_fast', [False, True])
def test_native_is_right_on_any_cpu_in_bfloat16(shape, is_fast, monkeypatch):
  monkeypatch.setattr(cpu, 'has_fast_bfloat16', lambda: is_fast)
  check_bfloat16(shape, 'native')


def check_bfloat16(shape, engine):
  arrays = example(shape, jnp.bfloat16)
  got = jax.jit(lambda *x: outputs(*x, shape[-1], engine))(*arrays)
  wide = jax.tree.map(lambda a: a.astype(jnp.float32), arrays)
  for a, b in zip(truth(*wide, shape[-1]), got, strict=True):
    assert b.dtype == jnp.bfloat16
    assert cosine(a, b) > 0.999
    assert relative(a, b) < 0.02


@pytest.mark.parametrize('engine', engine_params())
def test_bfloat16_can_give_float32(engine):
  xs, kernel, dy = example((1, 9, 9, (64,), 4, 1, 1))
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), xs)
  options = dict(out_dtype=jnp.float32, engine=engine)
  y, vjp = jax.vjp(lambda *a: conv.conv(*a, **options), half, kernel)
  (dx,), dkernel = vjp(dy)
  assert (y.dtype, dx.dtype) == (jnp.float32, jnp.bfloat16)
  assert dkernel.dtype == jnp.float32
  for a, b in zip(truth(xs, kernel, dy, 1), (y, dx, dkernel), strict=True):
    assert relative(a, b) < 0.02
  rounded = y.astype(jnp.bfloat16).astype(jnp.float32)
  assert not np.array_equal(y, rounded)


def affine(channels):
  """Returns a factor and an offset for each channel, float32[channels] each."""
  rng = np.random.default_rng(1)
  return tuple(jnp.asarray(rng.normal(size=(2, channels)), jnp.float32))


@pytest.mark.parametrize('engine', engine_params())
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(
  ('dtype', 'limit'), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.02)]
)
def test_a_norm_and_relu_can_be_fused(shape, dtype, limit, engine):
  xs, kernel, dy = example(shape, dtype)
  y = truth(*jax.tree.map(jnp.float32, (xs, kernel, dy)), shape[-1])[0]
  factor, offset = affine(shape[4])
  expected = np.maximum(
    np.asarray(y) * np.asarray(factor) + np.asarray(offset), 0
  )
  options = dict(dilation=shape[-1], engine=engine)
  got = conv.conv_affine_relu(xs, kernel, factor, offset, **options)
  assert got.dtype == dtype
  assert relative(expected, got) < limit

  # With gradients the two operations run one after the other.
  def unfused(*args):
    y = conv.conv(*args[:2], **options)
    return norm.affine_relu(y, *args[2:], engine)

  def fused(*args):
    return conv.conv_affine_relu(*args, **options)

  def value_and_gradients(apply):
    y, vjp = jax.vjp(apply, xs, kernel, factor, offset)
    return jax.tree.leaves((y, vjp(dy)))

  for a, b in zip(*map(value_and_gradients, (unfused, fused)), strict=True):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize('engine', engine_params())
def test_a_fused_relu_keeps_nan(engine):
  xs, kernel, _ = example(SHAPES[0])
  broken = jax.tree.map(lambda x: x.at[0, 3, 4, 2].set(jnp.nan), xs)
  y = conv.conv_affine_relu(broken, kernel, *affine(64), engine=engine)
  assert np.isnan(y[0, 2:5, 3:6]).all()
  assert np.isfinite(y[1]).all()


@pytest.mark.parametrize('engine', engine_params())
def test_a_float32_kernel_has_a_float32_gradient(engine):
  xs, kernel, dy = example(SHAPES[3])
  half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (xs, dy))
  y, *_, dkernel = outputs(half[0], kernel, half[1], 1, engine)
  assert (y.dtype, dkernel.dtype) == (jnp.bfloat16, jnp.float32)
  assert cosine(truth(xs, kernel, dy, 1)[-1], dkernel) > 0.999


@pytest.mark.parametrize('engine', engine_params())
def test_works_under_remat_pmap_and_shard_map(engine):
  (x,), kernel, _ = example((8, 8, 8, (4,), 6, 3, 1))

  def loss(kernel, x):
    apply = jax.checkpoint(lambda x: conv.conv(x, kernel, engine=engine))
    return jnp.mean(jnp.square(apply(x)))

  def step(kernel, x):
    return jax.lax.pmean(jax.grad(loss)(kernel, x), 'data')

  expected = jax.grad(loss)(kernel, x)
  pmapped = jax.pmap(step, axis_name='data', in_axes=(None, 0))
  assert relative(expected, pmapped(kernel, x.reshape(4, 2, 8, 8, 4))[0]) < 1e-5
  spec = jax.sharding.PartitionSpec
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ('data',))
  sharded = jax.jit(
    jax.shard_map(
      step,
      mesh=mesh,
      in_specs=(spec(), spec('data')),
      out_specs=spec(),
      check_vma=False,
    )
  )
  assert relative(expected, sharded(kernel, x)) < 1e-5


@pytest.mark.parametrize('engine', engine_params())
def test_shapes_without_computing(engine):
  x = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.bfloat16)
  module = conv.Conv(8, dtype=jnp.bfloat16, engine=engine)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  assert variables['params']['kernel'].shape == (3, 3, 3, 8)
  assert variables['params']['kernel'].dtype == jnp.float32
  assert jax.eval_shape(module.apply, variables, x).shape == (1, 4, 4, 8)


@pytest.mark.parametrize('engine', engine_params())
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_up_conv_puts_each_tap_in_its_place(engine, dtype):
  rng = np.random.default_rng(0)
  x, kernel = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(2, 2, 6, 4))
  dy = rng.normal(size=(2, 6, 10, 4))
  y = np.zeros((2, 6, 10, 4))
  dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
  for i in range(2):
    for j in range(2):
      part = dy[:, i::2, j::2]
      y[:, i::2, j::2] = x @ kernel[i, j]
      dx += part @ kernel[i, j].T
      dkernel[i, j] = np.einsum('bhwc,bhwk->ck', x, part)
  got, vjp = jax.vjp(
    lambda x, k: conv.up_conv(x, k, engine=engine),
    jnp.asarray(x, dtype),
    jnp.asarray(kernel, dtype),
  )
  limit = 1e-5 if dtype == jnp.float32 else 0.02
  for a, b in zip(
    (y, dx, dkernel), (got, *vjp(jnp.asarray(dy, dtype))), strict=True
  ):
    assert relative(a, b) < limit


@needs_native
def test_native_gives_the_same_bits_twice():
  arrays = example((4, 32, 32, (32,), 32, 3, 1), jnp.bfloat16)
  run = jax.jit(lambda *a: outputs(*a, 1, 'native'))
  first = run(*arrays)
  for _ in range(3):
    for a, b in zip(first, run(*arrays), strict=True):
      np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@needs_native
@pytest.mark.skipif(
  cache.cpu_vendor() != 'AuthenticAMD' or not cpu.has_fast_bfloat16(),
  reason='oneDNN computes this gradient on this CPU',
)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_the_gradient_for_few_channels_has_the_same_bits_for_any_threads(
  dtype, monkeypatch
):
  (x,), kernel, dy = example((3, 40, 33, (32,), 32, 3, 1), dtype)
  kernel = kernel.astype(jnp.float32)
  gradients = []
  for threads in (1, 2, 3):
    monkeypatch.setattr(cpu, 'num_threads', lambda n=threads: n)
    gradient = native.call('conv_dk', kernel, dy, x, dilation=1, stride=1)
    gradients.append(gradient)
  for other in gradients[1:]:
    np.testing.assert_array_equal(gradients[0], other)
  wide = (x.astype(jnp.float32), kernel, dy.astype(jnp.float32))
  expected = truth((wide[0],), *wide[1:], 1)[-1]
  assert relative(expected, gradients[0]) < 1e-5


@needs_native
def test_native_is_right_from_many_threads_with_many_shapes():
  cases = []
  for i, shape in enumerate(SHAPES[:6]):
    arrays = jax.device_put(example(shape), jax.devices()[i % 4])
    run = jax.jit(lambda *a, d=shape[-1]: outputs(*a, d, 'native'))
    cases.append((run, arrays, jax.device_get(run(*arrays))))

  def work(i):
    run, arrays, expected = cases[i % len(cases)]
    for a, b in zip(expected, jax.device_get(run(*arrays)), strict=True):
      np.testing.assert_array_equal(a, b)

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(300)))


@pytest.mark.parametrize(
  ('x', 'kernel', 'text'),
  [
    ((1, 4, 4, 3), (3, 3, 4, 2), 'kernel \\[kh, kw, 3, K\\]'),
    ((1, 4, 4, 3), (2, 2, 3, 2), 'odd kernel sizes'),
    ((4, 4, 3), (3, 3, 3, 2), 'arrays \\[B, H, W, C\\]'),
    ((1, 0, 4, 3), (3, 3, 3, 2), 'sizes from 1'),
  ],
)
def test_a_wrong_shape_is_named(x, kernel, text):
  with pytest.raises(ValueError, match=text):
    conv.conv(jnp.zeros(x), jnp.zeros(kernel), engine='native')


def test_engines_are_chosen_by_platform():
  assert conv.choose_engine('gpu') == 'cudnn'
  assert conv.choose_engine('tpu') == 'xla'
  assert conv.choose_engine('cpu', 'rewritten') == 'rewritten'
  if expects_native():
    assert conv.choose_engine('cpu') == 'native'
  with pytest.raises(ValueError, match='cpu only'):
    conv.choose_engine('gpu', 'native')
  with pytest.raises(ValueError, match='fast'):
    conv.choose_engine('cpu', 'fast')


@pytest.mark.parametrize(
  ('vendor', 'features', 'is_fast'),
  [
    ('GenuineIntel', {'avx512_bf16', 'amx_bf16'}, True),
    ('GenuineIntel', {'avx512_bf16'}, False),
    ('AuthenticAMD', {'avx512_bf16'}, True),
    ('AuthenticAMD', {'avx2'}, False),
    ('', {'bf16'}, False),
  ],
)
def test_bfloat16_is_fast_where_it_was_measured(
  vendor, features, is_fast, monkeypatch
):
  monkeypatch.setattr(cache, 'cpu_vendor', lambda: vendor)
  monkeypatch.setattr(cache, 'cpu_features', lambda: frozenset(features))
  assert cpu.has_fast_bfloat16() == is_fast


FLAG = '--xla_cpu_experimental_onednn_custom_call'


@pytest.mark.parametrize(
  ('flags', 'is_on'),
  [
    ('', False),
    (FLAG, True),
    (f'--xla_dump_to=x {FLAG}=true', True),
    (f'{FLAG}=1 {FLAG}=false', False),
    (f'{FLAG}_more=true', False),
  ],
)
def test_xla_flags_are_read(flags, is_on, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', flags)
  assert xla_onednn.is_on() == is_on
  if is_on:
    with pytest.raises(ValueError, match='XLA_FLAGS'):
      conv.choose_engine('cpu', 'xla')
  assert conv.choose_engine('gpu') == 'cudnn'


@pytest.mark.parametrize(
  ('engine', 'missing', 'is_fast', 'is_asked'),
  [
    ('auto', 'no compiler', True, True),
    ('auto', '', True, False),
    ('auto', 'no compiler', False, False),
    ('rewritten', '', True, True),
    ('xla', 'no compiler', True, False),
  ],
)
def test_xlas_onednn_is_turned_on_where_the_native_operation_is_missing(
  engine, missing, is_fast, is_asked, monkeypatch
):
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=x')
  monkeypatch.setattr(native, 'missing', lambda: missing)
  monkeypatch.setattr(cpu, 'has_fast_bfloat16', lambda: is_fast)
  monkeypatch.setattr(xla_onednn, '_has_plugin', lambda: False)
  monkeypatch.setattr(xla_onednn.jaxlib.version, '__version_info__', (0, 12, 0))
  xla_onednn.ask(engine)
  assert xla_onednn.is_on() == is_asked
  assert '--xla_dump_to=x' in os.environ['XLA_FLAGS']
  monkeypatch.setenv('XLA_FLAGS', '/a/file')  # XLA reads flags from the file.
  xla_onednn.ask(engine)
  assert os.environ['XLA_FLAGS'] == '/a/file'
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.setattr(xla_onednn, '_has_plugin', lambda: True)
  xla_onednn.ask(engine)
  assert not xla_onednn.is_on()  # JAX may run on a GPU.
  monkeypatch.setattr(xla_onednn, '_has_plugin', lambda: False)
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.setattr(xla_onednn.jaxlib.version, '__version_info__', (9, 0, 0))
  xla_onednn.ask(engine)
  assert not xla_onednn.is_on()  # An unknown flag would end the process.


@pytest.mark.skipif(
  xla_onednn.jaxlib.version.__version_info__[:2] not in xla_onednn._VERSIONS,
  reason='not known to this jaxlib',
)
@pytest.mark.process
def test_xlas_onednn_is_right_with_the_gradients_rewritten():
  # The last shape is large enough for XLA to use oneDNN: thousands of products.
  code = (
    'import jax, test_conv\n'
    'shapes = [*test_conv.SHAPES, (2, 32, 32, (32, 32), 64, 3, 1)]\n'
    "for s in shapes: test_conv.check_bfloat16(s, 'rewritten')\n"
    "print('right')"
  )
  here = pathlib.Path(__file__).parent
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=os.environ
    | {'XLA_FLAGS': f'{FLAG}=true', 'PYTHONPATH': f'{here}:{here.parent}'},
    capture_output=True,
    text=True,
  )
  assert done.stdout == 'right\n', done.stderr


@pytest.fixture
def problem(tmp_path, monkeypatch):
  """Returns a function that loads the native operations with an empty cache."""
  monkeypatch.setattr(native, 'problem', native.problem.__wrapped__)

  def load(**env):
    for name, value in (env | {'XDG_CACHE_HOME': str(tmp_path)}).items():
      monkeypatch.setenv(name, value)
    return native.problem()

  return load


@needs_native
def test_without_a_compiler_the_reason_is_given_and_rewritten_is_used(problem):
  reason = problem(PATH='', CXX='')
  assert conv.choose_engine('cpu') == 'rewritten'
  assert 'no C++ compiler; install g++' in reason
  assert '\n' not in reason


@needs_native
@pytest.mark.process
def test_a_failing_compiler_is_quoted(problem, tmp_path):
  compiler = tmp_path / 'c++'
  compiler.write_text('#!/bin/sh\necho "x.cc:1: error: no luck" >&2; exit 1\n')
  compiler.chmod(0o755)
  reason = problem(CXX=str(compiler))
  assert conv.choose_engine('cpu') == 'rewritten'
  assert 'error: no luck' in reason
  assert not list(tmp_path.glob('unet_jax/*'))


@needs_native
def test_a_cached_library_that_is_not_sound_is_not_loaded(tmp_path):
  content = build.shared_object().read_bytes()
  path = tmp_path / 'native.so'
  path.write_bytes(content)
  path.chmod(0o755)
  assert build.is_sound(path)
  for damaged in (
    *(b'', content[:-1], content[: len(content) // 2]),
    content[:999] + bytes([content[999] ^ 1]) + content[1000:],
  ):
    path.write_bytes(damaged)
    assert not build.is_sound(path)
  path.write_bytes(content)
  path.chmod(0o777)  # Others could replace its content.
  assert not build.is_sound(path)


@needs_native
@pytest.mark.skipif(os.getuid() != 0, reason='only root gives files away')
def test_a_library_of_another_user_is_not_loaded(tmp_path):
  path = tmp_path / 'native.so'
  path.write_bytes(build.shared_object().read_bytes())
  os.chown(path, 1234, 1234)
  assert not build.is_sound(path)

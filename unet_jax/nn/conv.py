"""The models' convolutions, and the choice of the engine that runs them.

Four engines give the same results up to rounding:
  'xla': `jax.lax.conv_general_dilated`, for TPU.
  'cudnn': the same for GPU, with a barrier against fusion after it.
  'native': oneDNN through XLA's foreign function interface, for CPU.
  'rewritten': XLA's forward convolution, with gradients written as forward
    convolutions and matrix products, which XLA runs well on CPU. For CPU
    without a compiler or oneDNN.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from unet_jax.nn import norm
from unet_jax.nn.native import cpu, native, xla_onednn

ENGINES = ('xla', 'cudnn', 'native', 'rewritten')


def choose_engine(platform: str, requested: str = 'auto') -> str:
  """Returns the engine for a platform, one of ENGINES.

  Args:
    platform: 'cpu', 'gpu' or 'tpu', from `jax.default_backend()`.
    requested: an engine, or 'auto'. With 'auto', `native.problem()` returns why
      the native engine was not chosen.

  Raises:
    ValueError: the requested engine is unknown or does not run here.
  """
  if requested not in ('auto', *ENGINES):
    raise ValueError(
      f'engine must be auto or one of {", ".join(ENGINES)}, got {requested!r}.'
    )
  if requested == 'native':
    if platform != 'cpu':
      raise ValueError(
        f'engine native runs on cpu only, not on {platform}; use auto.'
      )
    if native.problem():
      raise ValueError(native.problem())
  if requested == 'xla' and platform == 'cpu' and xla_onednn.is_on():
    raise ValueError(
      'engine xla may compute wrong gradients on this cpu, since XLA_FLAGS '
      'turns on the oneDNN in XLA; use engine rewritten.'
    )
  if requested != 'auto':
    return requested
  if platform != 'cpu':
    return 'cudnn' if platform == 'gpu' else 'xla'
  return 'rewritten' if native.problem() else 'native'


def conv(
  xs,
  kernel: jax.Array,
  *,
  dilation: int = 1,
  out_dtype: DTypeLike | None = None,
  engine: str,
) -> jax.Array:
  """Convolves with stride 1 and SAME padding.

  Args:
    xs: float32 | bfloat16[B, H, W, C], or a tuple of such arrays, which stands
      for their concatenation along the channels. The native engine never makes
      the concatenation.
    kernel: float32 | bfloat16[kh, kw, C, K], kh and kw odd. It is rounded to
      the type of xs; its gradient has the kernel's own type.
    dilation: distance of the kernel's taps, in pixels.
    out_dtype: type of the result, by default that of xs. If it is wider, the
      native engine may round the kernel to the type of xs, and rounds the
      result's gradient to that type.
    engine: from `choose_engine`.

  Returns:
    [B, H, W, K].

  Raises:
    ValueError: shapes, types or the engine are not as above.
  """
  xs = _parts(xs)
  _check(xs, kernel, dilation)
  if engine == 'native':
    return _native(xs, kernel, dilation, jnp.dtype(out_dtype or xs[0].dtype))
  x = xs[0] if len(xs) == 1 else jnp.concatenate(xs, axis=-1)
  x = x.astype(out_dtype or x.dtype)
  kernel = kernel.astype(x.dtype)
  if engine == 'xla':
    return _xla(x, kernel, dilation)
  if engine == 'cudnn':
    # Without the barrier XLA fuses the operations that follow into cuDNN's
    # graph, and cuDNN then compiles kernels at run time: 9 s for an inference
    # instead of 1.
    return jax.lax.optimization_barrier(_xla(x, kernel, dilation))
  if engine == 'rewritten':
    return _rewritten(x, kernel, dilation)
  raise ValueError(
    f'engine must be one of {", ".join(ENGINES)}, got {engine!r}.'
  )


def conv_affine_relu(
  xs,
  kernel: jax.Array,
  factor: jax.Array,
  offset: jax.Array,
  *,
  dilation: int = 1,
  engine: str,
) -> jax.Array:
  """Returns relu(conv(xs, kernel) * factor + offset).

  The affine map is batch norm with fixed statistics. The native engine fuses it
  and the ReLU into the convolution; its ReLU has a slope of 1e-30 below 0.

  Args:
    xs: [B, H, W, C] or a tuple; see `conv`, also for the other arguments.
    kernel: [kh, kw, C, K].
    factor: float32[K].
    offset: float32[K].
    dilation: distance of the kernel's taps, in pixels.
    engine: from `choose_engine`.

  Returns:
    [B, H, W, K] in the type of xs.
  """
  if engine == 'native':
    xs = _parts(xs)
    _check(xs, kernel, dilation)
    return _native_affine_relu(xs, kernel, factor, offset, dilation)
  y = conv(xs, kernel, dilation=dilation, engine=engine)
  return norm.affine_relu(y, factor, offset, engine)


def _parts(
  xs: jax.Array | tuple[jax.Array, ...] | list[jax.Array],
) -> tuple[jax.Array, ...]:
  """Returns a tuple of arrays [B, H, W, C]; a single array becomes one part."""
  return tuple(xs) if isinstance(xs, (tuple, list)) else (xs,)


def _check(xs, kernel, dilation):
  channels = sum(x.shape[-1] for x in xs)
  if any(x.ndim != 4 or x.shape[:-1] != xs[0].shape[:-1] for x in xs):
    raise ValueError(
      f'conv takes arrays [B, H, W, C], got {[x.shape for x in xs]}.'
    )
  if kernel.ndim != 4 or kernel.shape[2] != channels:
    raise ValueError(
      f'conv takes a kernel [kh, kw, {channels}, K], got {kernel.shape}.'
    )
  if not kernel.shape[0] % 2 or not kernel.shape[1] % 2:
    raise ValueError(f'conv takes odd kernel sizes, got {kernel.shape}.')
  dtypes = [x.dtype for x in xs]
  if any(x not in (jnp.float32, jnp.bfloat16) for x in (*dtypes, kernel.dtype)):
    raise ValueError(
      f'conv takes float32 and bfloat16, got {dtypes} and {kernel.dtype}.'
    )
  if len(set(dtypes)) > 1:
    raise ValueError(f'conv takes parts of the same type, got {dtypes}.')
  if dilation < 1 or 0 in kernel.shape or any(0 in x.shape for x in xs):
    raise ValueError(
      f'conv takes sizes from 1 and a dilation from 1, got '
      f'{[x.shape for x in xs]}, {kernel.shape} and {dilation}.'
    )


def _xla(x, kernel, dilation):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding='SAME',
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _call(name: str, result, *args: jax.Array, **attributes: int):
  """Calls a native operation, in float32 where the CPU's bfloat16 is slower."""
  if cpu.has_fast_bfloat16():
    return native.call(name, result, *args, **attributes)
  args = tuple(x.astype(jnp.float32) for x in args)
  wide = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), result
  )
  outputs = native.call(name, wide, *args, **attributes)
  return jax.tree.map(lambda y, x: y.astype(x.dtype), outputs, result)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _native(xs, kernel, dilation, out_dtype):
  y = jax.ShapeDtypeStruct((*xs[0].shape[:-1], kernel.shape[-1]), out_dtype)
  return _call('conv', y, kernel, *xs, dilation=dilation, stride=1)


def _native_fwd(xs, kernel, dilation, out_dtype):
  return _native(xs, kernel, dilation, out_dtype), (xs, kernel)


def _native_bwd(dilation, out_dtype, residuals, dy):
  xs, kernel = residuals
  dy = dy.astype(xs[0].dtype)
  dxs = _call('conv_dx', xs, kernel, dy, dilation=dilation, stride=1)
  dkernel = _call('conv_dk', kernel, dy, *xs, dilation=dilation, stride=1)
  return tuple(dxs), dkernel


_native.defvjp(_native_fwd, _native_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _native_affine_relu(xs, kernel, factor, offset, dilation):
  y = jax.ShapeDtypeStruct((*xs[0].shape[:-1], kernel.shape[-1]), xs[0].dtype)
  args = (kernel, factor, offset, *xs)
  return _call('conv_affine_relu', y, *args, dilation=dilation, stride=1)


def _native_affine_relu_fwd(xs, kernel, factor, offset, dilation):
  # The gradient needs the convolution's result, which the fused form drops.
  def unfused(xs, kernel, factor, offset):
    y = _native(xs, kernel, dilation, xs[0].dtype)
    return norm.affine_relu(y, factor, offset, 'native')

  return jax.vjp(unfused, xs, kernel, factor, offset)


_native_affine_relu.defvjp(
  _native_affine_relu_fwd, lambda dilation, vjp, dy: vjp(dy)
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rewritten(x, kernel, dilation):
  return _xla(x, kernel, dilation)


def _rewritten_fwd(x, kernel, dilation):
  return _xla(x, kernel, dilation), (x, kernel)


def _rewritten_bwd(dilation, residuals, dy):
  x, kernel = residuals
  dx = _xla(dy, kernel[::-1, ::-1].swapaxes(2, 3), dilation)
  # XLA's own kernel gradient runs at 30 GFLOP/s per core; the matrix products
  # of `_kernel_gradient` run at 80 to 110 from 128 channels on, and no faster
  # than XLA with fewer. With the oneDNN in XLA the products are faster in
  # bfloat16, and XLA's own gradient may be wrong.
  if xla_onednn.is_on() or min(kernel.shape[2:]) >= 128:
    return dx, _kernel_gradient(x, dy, kernel.shape, dilation)
  transpose = jax.linear_transpose(lambda k: _xla(x, k, dilation), kernel)
  return dx, transpose(dy)[0]


def _kernel_gradient(x, dy, shape, dilation):
  """Computes one matrix product, [C, B H W] by [B H W, K], for each tap."""
  rows, columns, c, k = shape
  _, h, w, _ = x.shape
  pad_h, pad_w = dilation * (rows // 2), dilation * (columns // 2)
  x = jnp.pad(x, ((0, 0), (pad_h, pad_h), (pad_w, pad_w), (0, 0)))
  dy = dy.reshape(-1, k)

  def tap(i, j):
    shifted = x[:, dilation * i :, dilation * j :][:, :h, :w].reshape(-1, c)
    return jax.lax.dot_general(shifted, dy, (((0,), (0,)), ((), ())))

  taps = [tap(i, j) for i in range(rows) for j in range(columns)]
  return jnp.stack(taps).reshape(shape)


_rewritten.defvjp(_rewritten_fwd, _rewritten_bwd)


class Conv(nn.Module):
  """A convolution of stride 1 and SAME padding.

  Its parameters are `kernel` float32[kh, kw, C, features] and, with `use_bias`,
  `bias` float32[features]. Names and initializers are those of flax's nn.Conv.
  """

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  dilation: int = 1
  use_bias: bool = True
  dtype: DTypeLike = jnp.float32
  out_dtype: DTypeLike | None = None  # Type of the result; None for `dtype`.
  engine: str = 'xla'
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(
    self,
    xs: jax.Array | tuple[jax.Array, ...],
    affine: tuple[jax.Array, jax.Array] | None = None,
  ) -> jax.Array:
    """Maps [B, H, W, C] to [B, H, W, features].

    Args:
      xs: an array of any float type, or a tuple of parts; see `conv`.
      affine: factor and offset, float32[features] each. If given, the result is
        relu(y * factor + offset); only without `use_bias`.
    """
    xs = tuple(x.astype(self.dtype) for x in _parts(xs))
    shape = (*self.kernel_size, sum(x.shape[-1] for x in xs), self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    if affine:
      return conv_affine_relu(
        xs, kernel, *affine, dilation=self.dilation, engine=self.engine
      )
    y = conv(
      xs,
      kernel,
      dilation=self.dilation,
      out_dtype=self.out_dtype,
      engine=self.engine,
    )
    return _add_bias(self, y) if self.use_bias else y


class UpConv(nn.Module):
  """A transposed convolution of size 2 and stride 2: each pixel becomes four.

  The windows don't overlap, so it is one matrix product and a rearrangement.
  Its parameters are `kernel` float32[2, 2, C, features], one tap per output
  pixel of a window, and `bias` float32[features].
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike = jnp.float32
  engine: str = 'xla'
  # An output pixel uses one of the four taps, so its fan-in is C, not 4 C.
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal(
    batch_axis=(0, 1)
  )

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
    shape = (2, 2, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    y = up_conv(x.astype(self.dtype), kernel, engine=self.engine)
    return _add_bias(self, y) if self.use_bias else y


def _add_bias(module, y):
  """Adds the parameter `bias` in float32: its gradient sums over all pixels."""
  bias = module.param('bias', nn.initializers.zeros, (module.features,))
  return (y.astype(jnp.float32) + bias[None, None, None, :]).astype(y.dtype)


def up_conv(x: jax.Array, kernel: jax.Array, *, engine: str) -> jax.Array:
  """Computes a transposed convolution of size 2 and stride 2.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    kernel: float32 | bfloat16[2, 2, C, K].
    engine: from `choose_engine`.

  Returns:
    [B, 2H, 2W, K] in the type of x.
  """
  if engine == 'native':
    return _native_up(x, kernel.swapaxes(2, 3))
  b, h, w, c = x.shape
  features = kernel.shape[-1]
  matrix = kernel.astype(x.dtype).transpose(2, 0, 1, 3).reshape(c, 4 * features)
  y = (x.reshape(-1, c) @ matrix).reshape(b, h, w, 2, 2, features)
  return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, features)


@jax.custom_vjp
def _native_up(x, kernel):
  """Runs the input gradient of a convolution of size 2 and stride 2.

  The convolution goes the other way, so its kernel is [2, 2, K, C].
  """
  b, h, w, _ = x.shape
  y = jax.ShapeDtypeStruct((b, 2 * h, 2 * w, kernel.shape[2]), x.dtype)
  return _call('conv_dx', (y,), kernel, x, dilation=1, stride=2)[0]


def _native_up_bwd(residuals, dy):
  x, kernel = residuals
  dx = _call('conv', x, kernel, dy, dilation=1, stride=2)
  return dx, _call('conv_dk', kernel, x, dy, dilation=1, stride=2)


_native_up.defvjp(
  lambda x, kernel: (_native_up(x, kernel), (x, kernel)), _native_up_bwd
)

"""Batch norm with ReLU as one operation, and max pooling.

Both are bound by memory: what counts is how often a tensor is read. Their
gradients are written out, and with the engine 'native' batch norm's passes are
loops in C++ (batch_norm.cc); else they are left to XLA.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.nn.native import native


class BatchNormRelu(nn.Module):
  """ReLU of batch norm over batch and pixels, with statistics in float32.

  Parameters `scale` and `bias`, and in the collection batch_stats `mean` and
  `var`, all float32[C], as flax's nn.BatchNorm has them.

  Attributes:
    features: C.
    momentum: share of the old in the running statistics.
    axis_name: mapped axis over which training shares its statistics; the
      gradients then are those of the whole batch once they are averaged over
      that axis. Under shard_map it needs check_vma=False.
  """

  features: int
  momentum: float = 0.9
  epsilon: float = 1e-5
  axis_name: str | None = None
  engine: str = 'xla'

  def setup(self):
    channels = (self.features,)
    self.scale = self.param('scale', nn.initializers.ones, channels)
    self.bias = self.param('bias', nn.initializers.zeros, channels)
    self.mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    self.var = self.variable('batch_stats', 'var', jnp.ones, channels)

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps float32 | bfloat16[B, H, W, C] to the same shape and type."""
    if not train:
      return affine_relu(x, *self.affine(), self.engine)
    axis_name = None if self.is_initializing() else self.axis_name
    y, batch_mean, batch_var = batch_norm_relu(
      x, self.scale, self.bias, self.epsilon, axis_name, self.engine
    )
    if not self.is_initializing():
      keep = self.momentum
      self.mean.value = keep * self.mean.value + (1 - keep) * batch_mean
      self.var.value = keep * self.var.value + (1 - keep) * batch_var
    return y

  def affine(self) -> tuple[jax.Array, jax.Array]:
    """Returns the factor and the offset, float32[C], outside training."""
    return _affine(
      *(self.scale, self.bias),
      *(self.mean.value, self.var.value, self.epsilon),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def batch_norm_relu(x, scale, bias, epsilon, axis_name, engine):
  """Returns relu(batch norm of x), and the mean and variance it used.

  No gradient flows through the returned mean and variance.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    scale: float32[C].
    bias: float32[C].
    epsilon: added to the variance.
    axis_name: mapped axis whose members share the statistics, or None.
    engine: as conv.choose_engine gives it.
  """
  return _forward(x, scale, bias, epsilon, axis_name, engine)[0]


def _forward(x, scale, bias, epsilon, axis_name, engine):
  mean, var = _moments(x, engine)
  if axis_name:
    # Gathered, since a mean of squares less a squared mean loses digits.
    means, variances = jax.lax.all_gather((mean, var), axis_name)  # [N, C]
    mean = means.mean(0)
    var = (variances + jnp.square(means - mean[None])).mean(0)
  factor, offset = _affine(scale, bias, mean, var, epsilon)
  y = _normalize(x, factor, offset, engine)
  return (y, mean, var), (x, factor, offset, mean, var)


def _backward(epsilon, axis_name, engine, residuals, cotangents):
  x, factor, offset, mean, var = residuals
  dy = cotangents[0]
  rstd = jax.lax.rsqrt(var + epsilon)
  # With g = dy where y > 0: sums of g and of g (x - mean).
  dbias, product = _gradient_sums(x, dy, factor, offset, mean, engine)
  dscale = product * rstd
  count = x.size // x.shape[-1]
  total, total_scale = dbias, dscale
  if axis_name:
    count *= jax.lax.axis_size(axis_name)
    total, total_scale = jax.lax.psum((dbias, dscale), axis_name)
  # dx = factor (g - total / n - (x - mean) rstd total_scale / n)
  slope = -factor * rstd * total_scale / count
  constant = -factor * total / count - slope * mean
  dx = _gradient(x, dy, factor, offset, slope, constant, engine)
  return dx, dscale, dbias


batch_norm_relu.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def affine_relu(x, factor, offset, engine):
  """Returns relu(x * factor + offset): batch norm with fixed statistics.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    factor: float32[C].
    offset: float32[C].
    engine: as conv.choose_engine gives it.
  """
  return _normalize(x, factor, offset, engine)


def _affine_backward(engine, residuals, dy):
  x, factor, offset = residuals
  none = jnp.zeros_like(factor)
  # Sums of g and g x, and factor g, with g = dy where y > 0.
  doffset, dfactor = _gradient_sums(x, dy, factor, offset, none, engine)
  return (
    _gradient(x, dy, factor, offset, none, none, engine),
    dfactor,
    doffset,
  )


affine_relu.defvjp(
  lambda x, factor, offset, engine: (
    _normalize(x, factor, offset, engine),
    (x, factor, offset),
  ),
  _affine_backward,
)


def _affine(scale, bias, mean, var, epsilon):
  """Batch norm as x * factor + offset."""
  factor = scale * jax.lax.rsqrt(var + epsilon)
  return factor, bias - mean * factor


def _wide(x):
  return x.astype(jnp.float32)


def _line(x):
  return x[None, None, None, :]


def _moments(x, engine):
  if engine == 'native':
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    return tuple(native.call('moments', (channels, channels), x))
  axes = tuple(range(x.ndim - 1))
  # Around the first pixel, which costs no second pass as the mean would.
  shift = _wide(jax.lax.stop_gradient(x[0, 0, 0]))
  centered = _wide(x) - _line(shift)
  mean = centered.mean(axes)
  var = jnp.maximum(jnp.square(centered).mean(axes) - jnp.square(mean), 0)
  return mean + shift, var


def _normalize(x, factor, offset, engine):
  if engine == 'native':
    return native.call('normalize', x, x, factor, offset)
  y = jax.nn.relu(_wide(x) * _line(factor) + _line(offset))
  return y.astype(x.dtype)


def _passed(x, dy, factor, offset):
  passes = _wide(x) * _line(factor) + _line(offset) > 0
  return jnp.where(passes, _wide(dy), 0)


def _gradient_sums(x, dy, factor, offset, mean, engine):
  if engine == 'native':
    return native.call(
      'gradient_sums', (mean, mean), x, dy, factor, offset, mean
    )
  g = _passed(x, dy, factor, offset)
  axes = tuple(range(x.ndim - 1))
  return g.sum(axes), (g * (_wide(x) - _line(mean))).sum(axes)


def _gradient(x, dy, factor, offset, slope, constant, engine):
  if engine == 'native':
    return native.call('gradient', x, x, dy, factor, offset, slope, constant)
  g = _passed(x, dy, factor, offset)
  dx = _line(factor) * g + _line(slope) * _wide(x) + _line(constant)
  return dx.astype(x.dtype)


@jax.custom_vjp
def max_pool2x2(x: jax.Array) -> jax.Array:
  """Takes the maximum of 2x2 windows; an odd last row or column is left out.

  The gradient goes to the first of equal maxima, row by row, as in XLA, but
  without XLA's select-and-scatter: that took 94 ms on 2 CPU cores where this
  takes 10, and was the largest operation of a training step on a GPU.

  Args:
    x: float32 | bfloat16[B, H, W, C].

  Returns:
    [B, H // 2, W // 2, C] in the type of x.
  """
  return nn.max_pool(x, (2, 2), (2, 2))


def _pool_backward(x, dy):
  _, h, w, _ = x.shape
  even = x[:, : h // 2 * 2, : w // 2 * 2]
  p, q, r, s = (even[:, i::2, j::2] for i in (0, 1) for j in (0, 1))

  def first(a, b):
    return (a >= b) | jnp.isnan(a)

  upper = jnp.where(first(p, q), p, q)
  lower = jnp.where(first(r, s), r, s)
  place = jnp.where(
    first(upper, lower),
    jnp.where(first(p, q), 0, 1),
    jnp.where(first(r, s), 2, 3),
  )
  places = jnp.arange(4).reshape(1, 1, 2, 1, 2, 1)

  def window(a):
    return a[:, :, None, :, None, :]

  dx = jnp.where(window(place) == places, window(dy), 0).reshape(even.shape)
  return (jnp.pad(dx, ((0, 0), (0, h % 2), (0, w % 2), (0, 0))),)


max_pool2x2.defvjp(lambda x: (max_pool2x2(x), x), _pool_backward)

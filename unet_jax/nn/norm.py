"""Batch norm with ReLU as one operation, and max pooling.

Both are bound by memory: their time depends on how often a tensor is read. The
gradients are written by hand. With engine 'native' the passes of batch norm are
loops in C++ (batch_norm.cc); the other engines leave them to XLA.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from unet_jax.nn.native import native


class Affine(NamedTuple):
  """An affine map of each channel: x * factor + offset."""

  factor: jax.Array  # float32[C]
  offset: jax.Array  # float32[C]


class Settings(NamedTuple):
  """Static settings of batch norm; hashable, as JAX requires."""

  epsilon: float  # Added to the variance.
  axis_name: str | None  # Mapped axis over which statistics are synchronised.
  engine: str  # From conv.choose_engine.


class BatchNormRelu(nn.Module):
  """Batch norm over batch and pixels, then ReLU, with statistics in float32.

  Its parameters are `scale` and `bias`; the collection batch_stats holds `mean`
  and `var`. All are float32[C], with the names of flax's nn.BatchNorm.

  Attributes:
    features: C.
    momentum: weight of the old value in the running statistics.
    epsilon: added to the variance.
    axis_name: mapped axis over which training synchronises the statistics. The
      mean of the gradients over that axis is the gradient for the whole batch.
      Under shard_map it needs check_vma=False.
    engine: from conv.choose_engine.
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
    settings = Settings(self.epsilon, axis_name, self.engine)
    y, batch_mean, batch_var = batch_norm_relu(
      x, self.scale, self.bias, settings
    )
    if not self.is_initializing():
      keep = self.momentum
      self.mean.value = keep * self.mean.value + (1 - keep) * batch_mean
      self.var.value = keep * self.var.value + (1 - keep) * batch_var
    return y

  def affine(self) -> Affine:
    """Returns batch norm with the running statistics, as an affine map."""
    mean, var = self.mean.value, self.var.value
    return _affine(self.scale, self.bias, mean, var, self.epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm_relu(
  x: jax.Array, scale: jax.Array, bias: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Applies batch norm with the batch's own statistics, then ReLU.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    scale: float32[C].
    bias: float32[C].
    settings: static.

  Returns:
    The result [B, H, W, C] in the type of x, and the batch's mean and variance,
    float32[C] each. No gradient flows through mean and variance.
  """
  return _forward(x, scale, bias, settings)[0]


def _forward(x, scale, bias, settings):
  mean, var = _moments(x, settings.engine)
  if settings.axis_name:
    # The moments are gathered, not psum'ed as sums: the mean of squares minus
    # the squared mean loses digits.
    means, variances = jax.lax.all_gather((mean, var), settings.axis_name)
    mean = means.mean(0)  # [N, C] -> [C]
    var = (variances + jnp.square(means - mean[None])).mean(0)
  affine = _affine(scale, bias, mean, var, settings.epsilon)
  y = _normalize(x, affine, settings.engine)
  return (y, mean, var), (x, affine, mean, var)


def _backward(settings, residuals, cotangents):
  x, affine, mean, var = residuals
  dy = cotangents[0]
  rstd = jax.lax.rsqrt(var + settings.epsilon)
  # With g = dy where y > 0, else 0: the sums of g and of g (x - mean).
  dbias, product = _gradient_sums(x, dy, affine, mean, settings.engine)
  dscale = product * rstd
  count = x.size // x.shape[-1]
  total, total_scale = dbias, dscale
  if settings.axis_name:
    count *= jax.lax.axis_size(settings.axis_name)
    total, total_scale = jax.lax.psum((dbias, dscale), settings.axis_name)
  # dx = factor (g - total / n - (x - mean) rstd total_scale / n)
  slope = -affine.factor * rstd * total_scale / count
  constant = -affine.factor * total / count - slope * mean
  dx = _gradient(x, dy, affine, Affine(slope, constant), settings.engine)
  return dx, dscale, dbias


batch_norm_relu.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def affine_relu(
  x: jax.Array, factor: jax.Array, offset: jax.Array, engine: str
) -> jax.Array:
  """Returns relu(x * factor + offset): batch norm with fixed statistics.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    factor: float32[C].
    offset: float32[C].
    engine: from conv.choose_engine.

  Returns:
    [B, H, W, C] in the type of x.
  """
  return _normalize(x, Affine(factor, offset), engine)


def _affine_forward(x, factor, offset, engine):
  affine = Affine(factor, offset)
  return _normalize(x, affine, engine), (x, affine)


def _affine_backward(engine, residuals, dy):
  x, affine = residuals
  zero = jnp.zeros_like(affine.factor)
  # With g = dy where y > 0, else 0: the sums of g and g x, and dx = factor g.
  doffset, dfactor = _gradient_sums(x, dy, affine, zero, engine)
  dx = _gradient(x, dy, affine, Affine(zero, zero), engine)
  return dx, dfactor, doffset


affine_relu.defvjp(_affine_forward, _affine_backward)


def _affine(scale, bias, mean, var, epsilon) -> Affine:
  """Returns batch norm as an affine map of each channel."""
  factor = scale * jax.lax.rsqrt(var + epsilon)
  return Affine(factor, bias - mean * factor)


def _wide(x):
  return x.astype(jnp.float32)


def _line(x):
  return x[None, None, None, :]


def _moments(x, engine):
  if engine == 'native':
    channels = jax.ShapeDtypeStruct(x.shape[-1:], jnp.float32)
    return tuple(native.call('moments', (channels, channels), x))
  axes = tuple(range(x.ndim - 1))
  # Moments about the first pixel keep more digits than those about 0, and need
  # no second pass over x, as moments about the mean would.
  shift = _wide(jax.lax.stop_gradient(x[0, 0, 0]))
  centered = _wide(x) - _line(shift)
  mean = centered.mean(axes)
  var = jnp.maximum(jnp.square(centered).mean(axes) - jnp.square(mean), 0)
  return mean + shift, var


def _normalize(x, affine, engine):
  if engine == 'native':
    return native.call('normalize', x, x, *affine)
  return jax.nn.relu(_apply(affine, x)).astype(x.dtype)


def _apply(affine, x):
  return _wide(x) * _line(affine.factor) + _line(affine.offset)


def _passed(x, dy, affine):
  """Returns dy where ReLU let the value pass, else 0; float32."""
  return jnp.where(_apply(affine, x) > 0, _wide(dy), 0)


def _gradient_sums(x, dy, affine, mean, engine):
  """Returns the sums of g and of g (x - mean), with g from `_passed`."""
  if engine == 'native':
    return native.call('gradient_sums', (mean, mean), x, dy, *affine, mean)
  g = _passed(x, dy, affine)
  axes = tuple(range(x.ndim - 1))
  return g.sum(axes), (g * (_wide(x) - _line(mean))).sum(axes)


def _gradient(x, dy, affine, rest, engine):
  """Returns factor g + rest(x), with g from `_passed` and an affine `rest`."""
  if engine == 'native':
    return native.call('gradient', x, x, dy, *affine, *rest)
  g = _passed(x, dy, affine)
  dx = (
    _line(affine.factor) * g
    + _line(rest.factor) * _wide(x)
    + _line(rest.offset)
  )
  return dx.astype(x.dtype)


def max_pool2x2(x: jax.Array, *, engine: str) -> jax.Array:
  """Takes the maximum of 2x2 windows; ignores an odd last row or column.

  The gradient goes to the first of equal maxima in row-major order, as in XLA.

  Args:
    x: float32 | bfloat16[B, H, W, C].
    engine: from conv.choose_engine.

  Returns:
    [B, H // 2, W // 2, C] in the type of x.
  """
  return nn.max_pool(x, (2, 2), (2, 2)) if engine == 'xla' else _pool(x)


@jax.custom_vjp
def _pool(x: jax.Array) -> jax.Array:
  """Pools with a gradient that avoids XLA's select-and-scatter.

  Select-and-scatter took 94 ms on 2 CPU cores where this gradient takes 10, and
  was the slowest operation of a training step on a GPU.
  """
  return nn.max_pool(x, (2, 2), (2, 2))


def _pool_backward(x, dy):
  _, h, w, _ = x.shape
  even = x[:, : h // 2 * 2, : w // 2 * 2]
  p, q, r, s = (even[:, i::2, j::2] for i in (0, 1) for j in (0, 1))

  def first(a, b):
    """Returns whether a is the maximum; a NaN is, and so is a in a tie."""
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


_pool.defvjp(lambda x: (_pool(x), x), _pool_backward)

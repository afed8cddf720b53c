"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), functional in linen.

Unlike the paper's, convolutions keep the size, and a norm goes with each.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from unet_jax.nn import conv, dropout, norm


class ConvBlock(nn.Module):
  """Two times convolution, norm and ReLU.

  With `residual` a unit of the deep residual U-Net (Zhang et al. 2018,
  arXiv:1711.10684): two times norm, ReLU and convolution, added to what came
  in, or to its linear map where the number of features changes.

  With `fused` batch norm, its statistics fixed, goes into the convolution
  before it, and what lies between the two can't be watched.
  """

  features: int
  norm: str
  dtype: DTypeLike
  engine: str
  axis_name: str | None
  residual: bool = False
  dilation: int = 1
  fused: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array | tuple[jax.Array, ...], train: bool
  ) -> jax.Array:
    """Maps [B, H, W, C], or parts of its channels, to [B, H, W, features]."""
    conv_of = functools.partial(
      conv.Conv,
      self.features,
      use_bias=self.norm == 'none',
      dtype=self.dtype,
      engine=self.engine,
    )
    batch_norm = functools.partial(
      norm.BatchNormRelu, axis_name=self.axis_name, engine=self.engine
    )

    def norm_relu(x: jax.Array, name: str) -> jax.Array:
      if self.norm == 'batch':
        return batch_norm(x.shape[-1], name=name)(x, train=train)
      if self.norm == 'group':
        groups = next(g for g in (8, 4, 2, 1) if x.shape[-1] % g == 0)
        x = nn.GroupNorm(groups, dtype=self.dtype, name=name)(x)
      return nn.relu(x)

    def conv_norm_relu(
      x: jax.Array | tuple[jax.Array, ...], i: int
    ) -> jax.Array:
      convolve = conv_of(dilation=self.dilation, name=f'conv{i}')
      if self.fused and self.norm == 'batch':
        affine = batch_norm(self.features, name=f'norm{i}').affine()
        return convolve(x, affine)
      return norm_relu(convolve(x), f'norm{i}')

    if not self.residual:
      return conv_norm_relu(conv_norm_relu(x, 0), 1)
    x = jnp.concatenate(x, axis=-1) if isinstance(x, tuple) else x
    y = x
    for i in range(2):
      y = norm_relu(y, f'norm{i}')
      y = conv_of(dilation=self.dilation, name=f'conv{i}')(y)
    if x.shape[-1] != self.features:
      x = conv_of(kernel_size=(1, 1), name='shortcut')(x)
    return x + y


class UNet(nn.Module):
  """A U-Net with a plane of logits a class.

  Attributes:
    num_planes: K.
    depth: how often the size is halved.
    width: features at full size, doubled at each halving.
    residual: whether blocks add to what comes in; see ConvBlock.
    norm: `batch` (synchronised over `axis_name` in training), `group`, `none`.
    dilated: levels, from the full size down, whose convolutions on the way down
      have their taps two pixels apart.
    dropout: share of the features that training drops where the way down ends,
      on its last level and in the bottleneck.
    dtype: of the computation; parameters, statistics and logits are float32.
    remat: levels, from the full size down, whose blocks keep only what goes in
      and compute the rest anew for the gradients: less memory, more time.
    engine: as conv.choose_engine gives it.
    axis_name: of the devices that share a batch; None on one device.
  """

  num_planes: int
  depth: int = 4
  width: int = 16
  residual: bool = False
  norm: str = 'batch'
  dilated: int = 0
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32
  remat: int = 0
  engine: str = 'xla'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool = False,
    frozen: tuple[str, ...] = (),
    rng_dropout: jax.Array | None = None,
  ) -> jax.Array:
    """Maps float32[B, H, W, C], of any size, to logits float32[B, H, W, K].

    Args:
      image: normalised.
      train: whether batch norm takes the batch's statistics, and keeps them.
      frozen: names of blocks that are as outside training all the same.
      rng_dropout: key[B], one a sample; None drops nothing.
    """
    height, width = image.shape[1:3]

    def block(level, features, name, dilation=1):
      kind = ConvBlock
      if level < self.remat:
        kind = nn.remat(ConvBlock, static_argnums=2)  # `train`: bool, in place.
      module = kind(
        features,
        norm=self.norm,
        dtype=self.dtype,
        engine=self.engine,
        axis_name=self.axis_name,
        residual=self.residual,
        dilation=dilation,
        fused=not train,  # Frozen blocks train among others, which are watched.
        name=name,
      )
      return lambda x: module(x, train and name not in frozen)

    conv_of = functools.partial(conv.Conv, dtype=self.dtype, engine=self.engine)
    up_conv = functools.partial(
      conv.UpConv, dtype=self.dtype, engine=self.engine
    )
    drop = functools.partial(
      dropout.sample_dropout, rng_dropout, rate=self.dropout
    )
    *encoder, bottleneck = (self.width * 2**i for i in range(self.depth + 1))
    x, skips = pad(image, 2**self.depth).astype(self.dtype), []
    if self.residual:
      x = conv_of(self.width, name='stem')(x)  # Before the first ReLU.
    for i, features in enumerate(encoder):
      dilation = 2 if i < self.dilated else 1
      x = block(i, features, f'down{i}', dilation)(x)
      skips.append(drop(x, layer=0) if i == self.depth - 1 else x)
      x = norm.max_pool2x2(skips[-1], engine=self.engine)
    x = drop(block(self.depth, bottleneck, 'bottleneck')(x), layer=1)
    for i, features in reversed(list(enumerate(encoder))):
      x = up_conv(features, name=f'up{i}')(x)
      x = block(i, features, f'merge{i}')((skips[i], x))
    head = conv_of(self.num_planes, (1, 1), out_dtype=jnp.float32, name='head')
    return head(x)[:, :height, :width]


def pad(image: jax.Array, multiple: int) -> jax.Array:
  """Replicates edges of [B, H, W, C] below and to the right, to a multiple."""
  rows, cols = (-side % multiple for side in image.shape[1:3])
  if not rows and not cols:
    return image
  return jnp.pad(image, ((0, 0), (0, rows), (0, cols), (0, 0)), mode='edge')

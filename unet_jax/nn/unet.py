"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597) in Flax Linen.

Unlike the paper's, its convolutions keep the size and have a norm each.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from unet_jax.nn import conv, dropout, norm


class ConvBlock(nn.Module):
  """Convolution, norm and ReLU, twice.

  With `residual` it is a unit of the deep residual U-Net (Zhang et al. 2018,
  arXiv:1711.10684): norm, ReLU and convolution, twice, added to the input, or
  to a 1x1 convolution of the input where the number of features changes.

  With `fused`, batch norm with its running statistics is fused into the
  convolution before it, and the convolution's own result can't be captured.
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
    """Maps [B, H, W, C], or a tuple of parts, to [B, H, W, features]."""
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
        groups = num_groups(x.shape[-1])
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
  """A U-Net that returns one plane of logits per class.

  Attributes:
    num_planes: K.
    depth: number of times the size is halved.
    width: features at full size, doubled at each halving.
    residual: whether blocks are residual; see ConvBlock.
    norm: `batch` (synchronised over `axis_name` in training), `group` or
      `none`.
    dilated: number of encoder levels, from full size down, whose convolutions
      have dilation 2.
    dropout: share of the features that training drops, at the last level of the
      encoder and in the bottleneck.
    dtype: type of the computation; parameters, statistics and logits are
      float32.
    remat: number of levels, from full size down, whose blocks keep only their
      inputs and recompute the rest for the gradients: less memory, more time.
    engine: from conv.choose_engine.
    axis_name: mapped axis of the devices that share a batch; None on one
      device.
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
    """Computes logits for images of any size.

    Args:
      image: float32[B, H, W, C], normalised.
      train: whether batch norm uses the batch's statistics and updates the
        running ones.
      frozen: names of blocks that use the running statistics even in training.
      rng_dropout: key[B], one per sample; None drops nothing.

    Returns:
      float32[B, H, W, K].
    """
    height, width = image.shape[1:3]

    def block(level, features, name, dilation=1):
      make = ConvBlock
      if level < self.remat:
        # Argument 2 is `train`; self counts as 0.
        make = nn.remat(ConvBlock, static_argnums=2)
      module = make(
        features,
        norm=self.norm,
        dtype=self.dtype,
        engine=self.engine,
        axis_name=self.axis_name,
        residual=self.residual,
        dilation=dilation,
        # Not in training, even in frozen blocks: trace.py reads every layer.
        fused=not train,
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


def num_groups(channels: int) -> int:
  """Returns into how many groups group norm divides the channels."""
  return next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)


def pad(image: jax.Array, multiple: int) -> jax.Array:
  """Pads [B, H, W, C] at the bottom and right by edge replication.

  The result's height and width are multiples of `multiple`.
  """
  rows, cols = (-side % multiple for side in image.shape[1:3])
  if not rows and not cols:
    return image
  return jnp.pad(image, ((0, 0), (0, rows), (0, cols), (0, 0)), mode='edge')

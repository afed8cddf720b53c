"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), functional in linen.

Unlike the paper's, convolutions keep the size, and a norm follows each.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from unet_jax.nn import conv, norm


class ConvBlock(nn.Module):
  """Two times convolution, norm and ReLU."""

  features: int
  norm: str
  dtype: jnp.dtype
  engine: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self, x: jax.Array | tuple[jax.Array, ...], train: bool
  ) -> jax.Array:
    """Maps [B, H, W, C], or parts of its channels, to [B, H, W, features]."""
    for i in range(2):
      x = conv.Conv(
        self.features,
        use_bias=self.norm == 'none',
        dtype=self.dtype,
        engine=self.engine,
        name=f'conv{i}',
      )(x)
      if self.norm == 'batch':
        x = norm.BatchNormRelu(
          axis_name=self.axis_name, engine=self.engine, name=f'norm{i}'
        )(x, train=train)
        continue
      if self.norm == 'group':
        groups = next(g for g in (8, 4, 2, 1) if self.features % g == 0)
        x = nn.GroupNorm(groups, dtype=self.dtype, name=f'norm{i}')(x)
      x = nn.relu(x)
    return x


class UNet(nn.Module):
  """A U-Net with a plane of logits a class.

  Attributes:
    num_planes: K.
    depth: how often the size is halved.
    width: features at full size, doubled at each halving.
    norm: `batch` (synchronised over `axis_name` in training), `group`, `none`.
    dtype: of the computation; parameters, statistics and logits are float32.
    remat: levels, from the full size down, whose blocks keep only what goes in
      and compute the rest anew for the gradients: less memory, more time.
    engine: as conv.choose_engine gives it.
    axis_name: of the devices that share a batch; None on one device.
  """

  num_planes: int
  depth: int = 4
  width: int = 16
  norm: str = 'batch'
  dtype: jnp.dtype = jnp.float32
  remat: int = 0
  engine: str = 'xla'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, image: jax.Array, *, train: bool = False, frozen: tuple[str, ...] = ()
  ) -> jax.Array:
    """Maps float32[B, H, W, C], of any size, to logits float32[B, H, W, K].

    Args:
      image: normalised.
      train: whether batch norm takes the batch's statistics, and keeps them.
      frozen: names of blocks that are as outside training all the same.
    """
    height, width = image.shape[1:3]

    def block(level, features, name):
      kind = ConvBlock
      if level < self.remat:
        kind = nn.remat(ConvBlock, static_argnums=2)  # `train`: bool, in place.
      module = kind(
        features,
        norm=self.norm,
        dtype=self.dtype,
        engine=self.engine,
        axis_name=self.axis_name,
        name=name,
      )
      return lambda x: module(x, train and name not in frozen)

    up_conv = functools.partial(
      conv.UpConv, dtype=self.dtype, engine=self.engine
    )
    *encoder, bottleneck = (self.width * 2**i for i in range(self.depth + 1))
    x, skips = _pad(image, 2**self.depth).astype(self.dtype), []
    for i, features in enumerate(encoder):
      skips.append(block(i, features, f'down{i}')(x))
      x = norm.max_pool2x2(skips[-1], engine=self.engine)
    x = block(self.depth, bottleneck, 'bottleneck')(x)
    for i, features in reversed(list(enumerate(encoder))):
      x = up_conv(features, name=f'up{i}')(x)
      x = block(i, features, f'merge{i}')((skips[i], x))
    head = conv.Conv(self.num_planes, (1, 1), engine=self.engine, name='head')
    return head(x.astype(jnp.float32))[:, :height, :width]


def _pad(image: jax.Array, multiple: int) -> jax.Array:
  """Goes on with the edge, below and to the right, to a multiple."""
  rows, cols = (-side % multiple for side in image.shape[1:3])
  if not rows and not cols:
    return image
  return jnp.pad(image, ((0, 0), (0, rows), (0, cols), (0, 0)), mode='edge')

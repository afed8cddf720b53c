"""The U-Nets of the tutorial, layer by layer as its Keras code has them.

S. Roychowdhury, "Unet using TF2" (vessels of STARE) and "U-net for multi-class
semantic segmentation" (lesions of DIARETDB1). They differ from unet.UNet by
biased convolutions, batch norm after the ReLU and on the way down alone, and a
nearest neighbour upsampling with a 2x2 convolution on the way up. Two things
here are not the tutorial's: dropout ends with training, where its code goes on
at prediction, and batch norm's statistics are those of all devices.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from unet_jax.nn import conv, dropout, norm, unet

he_normal = nn.initializers.he_normal()


class TutorialUNet(nn.Module):
  """One of the three networks.

  Attributes (others as unet.UNet's):
    again: whether a second bottleneck follows the first, as for the lesions.
    narrow: whether 2 features are left before the head, as for the vessels.
    dropout: share of the features that training drops behind the last two
      blocks of the way down.
  """

  num_planes: int
  depth: int = 4
  width: int = 64
  again: bool = False
  narrow: bool = False
  dilated: int = 0
  dropout: float = 0.5
  dtype: DTypeLike = jnp.float32
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
    """Maps float32[B, H, W, C] to logits float32[B, H, W, K]; see unet.UNet."""
    height, width = image.shape[1:3]
    conv_of = functools.partial(conv.Conv, dtype=self.dtype, engine=self.engine)
    up_conv = functools.partial(
      NearestUpConv, dtype=self.dtype, engine=self.engine
    )
    block = functools.partial(Block, dtype=self.dtype, engine=self.engine)
    with_norm = functools.partial(
      block, has_norm=True, axis_name=self.axis_name
    )
    names = [*(f'down{i}' for i in range(self.depth)), 'bottleneck']
    names += ['bottleneck1'] if self.again else []
    x, skips = unet.pad(image, 2**self.depth).astype(self.dtype), []
    for i, name in enumerate(names):
      features = self.width * 2 ** min(i, self.depth)
      dilation = 2 if i < self.dilated else 1
      x = with_norm(features, dilation=dilation, name=name)(
        x, train and name not in frozen
      )
      if name in names[-2:]:
        x = dropout.sample_dropout(rng_dropout, x, rate=self.dropout, layer=i)
      if i < self.depth:
        skips.append(x)
        x = norm.max_pool2x2(x, engine=self.engine)
    for i in reversed(range(self.depth)):
      features = self.width * 2**i
      x = up_conv(features, name=f'up{i}')(x)
      x = block(features, name=f'merge{i}')((skips[i], x), train)
    if self.narrow:
      narrow = conv_of(2, kernel_init=he_normal, name='narrow')
      x = nn.relu(narrow(x))
    head = conv_of(
      self.num_planes,
      (1, 1),
      out_dtype=jnp.float32,
      kernel_init=nn.initializers.glorot_uniform(),
      name='head',
    )
    return head(x)[:, :height, :width]


class Block(nn.Module):
  """Two times convolution, ReLU and, on the way down, batch norm."""

  features: int
  dtype: DTypeLike
  engine: str
  dilation: int = 1
  has_norm: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array | tuple[jax.Array, ...], train: bool
  ) -> jax.Array:
    """Maps [B, H, W, C], or parts of its channels, to [B, H, W, features]."""

    def unit(x: jax.Array | tuple[jax.Array, ...], i: int) -> jax.Array:
      convolve = conv.Conv(
        self.features,
        dilation=self.dilation,
        dtype=self.dtype,
        engine=self.engine,
        kernel_init=he_normal,
        name=f'conv{i}',
      )
      y = nn.relu(convolve(x))
      if not self.has_norm:
        return y
      return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.99,
        epsilon=1e-3,
        dtype=self.dtype,
        axis_name=self.axis_name,
        use_fast_variance=False,
        name=f'norm{i}',
      )(y)

    return unit(unit(x, 0), 1)


class NearestUpConv(nn.Module):
  """Every pixel four times, then a convolution of size 2, and ReLU."""

  features: int
  dtype: DTypeLike
  engine: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
    x = x.astype(self.dtype).repeat(2, axis=1).repeat(2, axis=2)
    shape = (2, 2, x.shape[-1], self.features)
    kernel = self.param('kernel', he_normal, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    # No engine takes even sizes. SAME puts the odd pixel below and to the
    # right, which is a size of 3 whose first taps are 0.
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    x = conv.conv(x, kernel, engine=self.engine).astype(jnp.float32)
    return nn.relu(x + bias[None, None, None, :]).astype(self.dtype)

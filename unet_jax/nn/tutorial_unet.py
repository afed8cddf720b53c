"""The tutorial's U-Nets, with the layers of its Keras code.

S. Roychowdhury, "Unet using TF2" (vessels of STARE) and "U-net for multi-class
semantic segmentation" (lesions of DIARETDB1). They differ from unet.UNet: the
convolutions have a bias, batch norm follows the ReLU and is in the encoder
only, and the decoder upsamples by nearest neighbour and a 2x2 convolution. Two
things differ from the tutorial: dropout is off at prediction, where the
tutorial's code keeps it on, and batch norm is synchronised over the devices.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from unet_jax.nn import conv, dropout, norm, unet

he_normal = nn.initializers.he_normal()
EPSILON = 1e-3  # Added to the variance by batch norm, as in Keras.


class TutorialUNet(nn.Module):
  """One of the tutorial's networks; other attributes are those of unet.UNet.

  Attributes:
    two_bottlenecks: whether a second bottleneck follows the first, as in the
      network for the lesions.
    narrow: whether a convolution to 2 features precedes the head, as in the
      network for the vessels.
    dropout: share of the features that training drops after each of the last
      two encoder blocks, bottlenecks included.
  """

  num_planes: int
  depth: int = 4
  width: int = 64
  two_bottlenecks: bool = False
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
    """Maps float32[B, H, W, C] to logits float32[B, H, W, K]; see unet.UNet.

    Args:
      image: normalised, of any size.
      train: whether batch norm uses the batch's statistics.
      frozen: names of blocks that use the running statistics even in training.
      rng_dropout: key[B], one per sample; None drops nothing.
    """
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
    names += ['bottleneck1'] if self.two_bottlenecks else []
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
  """Convolution, ReLU and, with `has_norm`, batch norm, twice."""

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
    """Maps [B, H, W, C], or a tuple of parts, to [B, H, W, features]."""

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
        epsilon=EPSILON,
        dtype=self.dtype,
        axis_name=self.axis_name,
        use_fast_variance=False,
        name=f'norm{i}',
      )(y)

    return unit(unit(x, 0), 1)


class NearestUpConv(nn.Module):
  """Nearest-neighbour upsampling by 2, then a 2x2 convolution and ReLU."""

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
    # No engine takes even kernel sizes. With SAME, a 2x2 kernel pads at the
    # bottom and right, so it equals a 3x3 kernel whose first row and column
    # are 0.
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    x = conv.conv(x, kernel, engine=self.engine).astype(jnp.float32)
    return nn.relu(x + bias[None, None, None, :]).astype(self.dtype)

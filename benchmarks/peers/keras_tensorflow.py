"""Keras on TensorFlow: the same network, with Keras' own train step."""

import json
import os
import sys

os.environ['KERAS_BACKEND'] = 'tensorflow'
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'

import keras  # noqa: E402
import numpy as np  # noqa: E402
import serve  # noqa: E402
from keras import layers, ops  # noqa: E402


def block(x, features: int):
  """Applies convolution, batch norm and ReLU, twice."""
  for _ in range(2):
    x = layers.Conv2D(features, 3, padding='same', use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
  return x


def make_unet(size: int, depth: int, width: int, planes: int) -> keras.Model:
  """Makes the U-Net of unet_jax, layer for layer."""
  inputs = x = layers.Input((size, size, 3))
  *encoder, bottleneck = (width * 2**i for i in range(depth + 1))
  skips = []
  for features in encoder:
    skips.append(block(x, features))
    x = layers.MaxPooling2D(2)(skips[-1])
  x = block(x, bottleneck)
  for features in encoder[::-1]:
    x = layers.Conv2DTranspose(features, 2, strides=2)(x)
    x = block(layers.Concatenate()([skips.pop(), x]), features)
  head = layers.Conv2D(planes, 1, dtype='float32')
  return keras.Model(inputs, head(x))


def loss_fn(target, logits):
  """Computes unet_jax's soft Dice of the foreground plus cross entropy."""
  planes = ops.one_hot(target, 4)
  probs = ops.softmax(logits)[..., 1:]
  overlap = ops.sum(probs * planes[..., 1:], (0, 1, 2))
  total = ops.sum(probs + planes[..., 1:], (0, 1, 2))
  dice = 1 - ops.mean((2 * overlap + 1) / (total + 1))
  entropy = ops.categorical_crossentropy(planes, logits, from_logits=True)
  return dice + ops.mean(entropy)


def main() -> None:
  """Builds the network that the arguments, as JSON, describe, and serves it."""
  args = json.loads(sys.argv[1])
  if args['precision'] == 'bfloat16':
    keras.mixed_precision.set_global_policy('mixed_bfloat16')
  size, batch = args['size'], args['batch']
  model = make_unet(size, args['depth'], args['width'], 4)
  model.compile(keras.optimizers.Adam(1e-3), loss_fn)
  rng = np.random.default_rng(0)
  image = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
  target = rng.integers(0, 4, (batch, size, size))

  def count(weights) -> int:
    return int(sum(np.prod(w.shape) for w in weights))

  def train(steps: int) -> None:
    for _ in range(steps):
      model.train_on_batch(image, target)

  def infer(steps: int) -> None:
    for _ in range(steps):
      model.predict_on_batch(image)

  serve.serve(
    train,
    infer,
    parameters=count(model.trainable_weights),
    version=f'keras {keras.__version__}',
  )


if __name__ == '__main__':
  main()

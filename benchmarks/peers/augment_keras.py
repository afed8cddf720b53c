"""Keras' ImageDataGenerator, on all cores, for images and masks alike."""

import json
import multiprocessing
import os
import sys

# Keras imports a backend, although ImageDataGenerator does not use it.
os.environ['KERAS_BACKEND'] = 'jax'

import keras  # noqa: E402
import pairs  # noqa: E402
import serve  # noqa: E402
from keras._tf_keras.keras.preprocessing import image as keras_image  # noqa: E402

SETTINGS = dict(
  horizontal_flip=True,
  vertical_flip=True,
  rotation_range=pairs.ROTATION,
  width_shift_range=pairs.SHIFT,
  height_shift_range=pairs.SHIFT,
  shear_range=pairs.SHEAR,
  zoom_range=pairs.ZOOM,
  fill_mode='nearest',
)


def work(queues, size: int, count: int) -> None:
  """Augments a pair for each seed received, until None is received."""
  images, masks = pairs.make(size, count)
  image_generator = keras_image.ImageDataGenerator(**SETTINGS)
  mask_generator = keras_image.ImageDataGenerator(
    interpolation_order=0, **SETTINGS
  )
  todo, done = queues
  for seed in iter(todo.get, None):
    i = seed % count
    image_generator.random_transform(images[i], seed=seed)
    mask_generator.random_transform(masks[i][..., None], seed=seed)
    done.put(seed)


def main() -> None:
  """Augments the batch that the arguments, as JSON, describe."""
  args = json.loads(sys.argv[1])
  todo: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
  done: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
  for _ in range(pairs.CORES):
    multiprocessing.Process(
      target=work, args=((todo, done), args['size'], args['batch']), daemon=True
    ).start()
  first = 0

  def run(steps: int) -> None:
    nonlocal first
    for _ in range(steps):
      first += args['batch']
      for i in range(args['batch']):
        todo.put(first + i)
      for _ in range(args['batch']):
        done.get()

  version = f'keras {keras.__version__}, {pairs.CORES} processes'
  serve.serve(run, version=version)


if __name__ == '__main__':
  main()

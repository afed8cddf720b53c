"""Albumentations on OpenCV, on all cores."""

import json
import multiprocessing
import sys

import albumentations
import cv2
import pairs
import serve


def work(queues, size: int, count: int) -> None:
  """Augments a pair for each number received, until None is received."""
  cv2.setNumThreads(1)  # There is one process for each core.
  images, masks = pairs.make(size, count)
  change = albumentations.Compose(
    [
      albumentations.HorizontalFlip(p=0.5),
      albumentations.VerticalFlip(p=0.5),
      albumentations.Affine(
        rotate=(-pairs.ROTATION, pairs.ROTATION),
        translate_percent=(-pairs.SHIFT, pairs.SHIFT),
        shear=(-pairs.SHEAR, pairs.SHEAR),
        scale=(1 - pairs.ZOOM, 1 + pairs.ZOOM),
        border_mode=cv2.BORDER_REPLICATE,
        p=1.0,
      ),
    ]
  )
  todo, done = queues
  for i in iter(todo.get, None):
    change(image=images[i % count], mask=masks[i % count])
    done.put(i)


def main() -> None:
  """Augments the batch that the arguments, as JSON, describe."""
  args = json.loads(sys.argv[1])
  todo: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
  done: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
  for _ in range(pairs.CORES):
    multiprocessing.Process(
      target=work, args=((todo, done), args['size'], args['batch']), daemon=True
    ).start()

  def run(steps: int) -> None:
    for _ in range(steps):
      for i in range(args['batch']):
        todo.put(i)
      for _ in range(args['batch']):
        done.get()

  version = f'{albumentations.__version__}, {pairs.CORES} processes'
  serve.serve(run, version=version)


if __name__ == '__main__':
  main()

"""Times confusion counts against scikit-learn, and their share of evaluation.

  python benchmarks/metrics.py [--rounds 15] [--size 1024] [--classes 4]

Ours counts class indices uint8 on JAX's default device, each image alone;
scikit-learn's confusion_matrix counts all images together, as uint8 and as
int64. The contestants take turns; ratios are medians over the rounds. Then the
counts and the histograms of an evaluation are timed beside the network.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import trainer
from sklearn import metrics

from unet_jax import build
from unet_jax.evaluation import counts, curves, matrix

BATCH = 4


def main() -> None:
  """Prints both tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=15)
  parser.add_argument('--size', type=int, default=1024)
  parser.add_argument('--classes', type=int, default=4)
  parser.add_argument('--width', type=int, default=16)
  args = parser.parse_args()
  build.start()
  shape = (BATCH, args.size, args.size)
  print(f'{BATCH} images of {args.size}x{args.size}, {args.classes} classes\n')
  times = take_turns(make_counters(shape, args.classes), args.rounds)
  print(format_times(times, np.prod(shape)), end='\n\n')
  print(f'An evaluation at width {args.width}, 4 classes, 256x256\n')
  times = take_turns(make_parts(args.width), args.rounds)
  print(format_times(times, BATCH * 256**2))


def make_counters(
  shape: tuple[int, int, int], num_classes: int
) -> dict[str, Callable]:
  """Returns {contestant: a function that counts the same pixels}."""
  rng = np.random.default_rng(0)
  truth = rng.integers(0, num_classes, shape, np.uint8)
  wrong = rng.integers(0, num_classes, shape, np.uint8)
  pred = np.where(rng.random(shape) < 0.8, truth, wrong)
  placed = jax.device_put((pred, truth))
  count = jax.jit(matrix.count, static_argnums=2)
  flat = {
    kind: (truth.ravel().astype(kind), pred.ravel().astype(kind))
    for kind in ('uint8', 'int64')
  }
  ours = np.asarray(count(*placed, num_classes)).sum(axis=0)
  np.testing.assert_array_equal(ours, metrics.confusion_matrix(*flat['uint8']))
  return {
    'unet_jax': lambda: count(*placed, num_classes).block_until_ready(),
    'unet_jax, from host': lambda: count(
      pred, truth, num_classes
    ).block_until_ready(),
    'scikit-learn, uint8': lambda: metrics.confusion_matrix(*flat['uint8']),
    'scikit-learn, int64': lambda: metrics.confusion_matrix(*flat['int64']),
  }


def make_parts(width: int) -> dict[str, Callable]:
  """Returns {part of an evaluation: a function that computes it alone}."""
  case = trainer.make_case(width=width, size=256, batch=BATCH)
  rng = np.random.default_rng(0)
  shape = (BATCH, 256, 256, 4)
  label = rng.integers(0, 4, shape[:3], np.uint8)
  logits = rng.normal(0, 4, shape).astype(np.float32)
  target = np.eye(4, dtype=np.float32)[label]
  placed = jax.device_put((logits, target, np.ones(shape[:3], np.float32)))
  label = jax.device_put(label)

  @jax.jit
  def planes(logits, target, weight):
    pred = counts.predicted_planes(logits, exclusive=True)
    return counts.confusion(pred, target, weight)

  @jax.jit
  def pairs(logits, label):
    return matrix.count(logits.argmax(axis=-1), label, 4)

  @jax.jit
  def histogram(logits, target, weight):
    logits = curves.binary_logits(logits, exclusive=True)
    return curves.histogram(logits, target, weight)

  return {
    'network': lambda: case.infer[1](1),
    'counts of planes': lambda: planes(*placed).block_until_ready(),
    'confusion matrix': lambda: pairs(placed[0], label).block_until_ready(),
    'histograms': lambda: histogram(*placed).block_until_ready(),
  }


def take_turns(
  functions: dict[str, Callable], rounds: int
) -> dict[str, list[float]]:
  """Calls the functions in turns; returns their seconds."""
  times: dict[str, list[float]] = {name: [] for name in functions}
  for function in functions.values():
    function()
  for _ in range(rounds):
    for name, function in functions.items():
      start = time.perf_counter()
      function()
      times[name].append(time.perf_counter() - start)
  return times


def format_times(times: dict[str, list[float]], pixels: int) -> str:
  """Formats medians; ratios to the first."""
  first, *_ = times.values()
  rows = []
  for name, seconds in times.items():
    median = statistics.median(seconds)
    ratio = statistics.median(
      s / f for s, f in zip(seconds, first, strict=True)
    )
    rows.append(
      [
        name,
        f'{1e3 * median:.3g}',
        f'{pixels / median / 1e6:.0f}',
        f'{ratio:.3g}',
      ]
    )
  header = ['', 'ms', 'million pixels per second', 'time / first']
  return trainer.table(header, rows)


if __name__ == '__main__':
  main()

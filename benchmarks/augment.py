"""Compares augmentation with Keras and Albumentations, in pairs per second.

  python benchmarks/augment.py [--rounds 15] [--cases 256x8 ...]

It also measures augmentation's share of a training step. All contestants do the
same operations: flips, rotation, shift, shear and zoom of uint8 RGB images,
bilinear, and of their masks, by nearest neighbour. Each contestant runs in a
process of its own, and they augment a batch in turns; ratios are medians over
the rounds. The peers use all cores, in worker processes that return no images.
"""

import argparse
import statistics
import time

import jax
import numpy as np
import train_step
import trainer

from unet_jax import build, parallel
from unet_jax.nn import augment

# Contestant -> its script, and the packages of its environment.
CONTESTANTS = {
  'unet_jax': ('augment_ours.py', ()),
  'ImageDataGenerator': (
    'augment_keras.py',
    ('scipy', 'keras', 'jax', 'pillow'),
  ),
  'Albumentations': (
    'augment_albumentations.py',
    ('albumentations==2.0.8', 'opencv-python-headless'),
  ),
}
OFF = {f'augment.{key}': off for key, off in augment.Ranges()._asdict().items()}


def main() -> None:
  """Runs each case and prints its tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=15)
  parser.add_argument(
    '--cases', nargs='*', default=['256x8'], help='SIZExBATCH'
  )
  parser.add_argument('--widths', nargs='*', type=int, default=[16, 32])
  parser.add_argument('--only', nargs='*', default=list(CONTESTANTS))
  parser.add_argument('--python311', default='python3.11')
  args = parser.parse_args()
  for case in args.cases:
    size, batch = map(int, case.split('x'))
    print(f'\n{batch} images of {size}x{size}x3 and their masks\n')
    print(compare(size, batch, args.only, args.rounds, args.python311))
    rows = [
      [width, *share(size, batch, width, args.rounds)] for width in args.widths
    ]
    print('\nA training step with the default augmentation and with none\n')
    header = ['width', 'with, s', 'without, s', 'share']
    print(trainer.table(header, rows), flush=True)


def compare(
  size: int, batch: int, names: list[str], rounds: int, python311: str
) -> str:
  """Formats pairs per second, and the peers' time divided by ours."""
  processes, facts = {}, {}
  for name in names:
    script, packages = CONTESTANTS[name]
    python = train_step.find_python(packages, python311)
    settings = dict(size=size, batch=batch)
    processes[name] = train_step.start(name, script, settings, python)
    facts[name] = train_step.answer(processes[name])
  times: dict[str, list[float]] = {name: [] for name in names}
  for _ in range(rounds):
    for name, process in processes.items():
      times[name].append(train_step.ask(process)[0])
  for process in processes.values():
    process.communicate()
  rows = []
  for name, seconds in times.items():
    ours = times['unet_jax']
    ratio = statistics.median(s / o for s, o in zip(seconds, ours, strict=True))
    rate = batch / statistics.median(seconds)
    title = f'{name} ({facts[name]["version"]})'
    rows.append([title, f'{rate:.0f}', f'{ratio:.2f}'])
  return trainer.table(['', 'pairs per second', 'time / ours'], rows)


def share(size: int, batch: int, width: int, rounds: int) -> list[str]:
  """Times steps with and without augmentation, in turns.

  Returns:
    Median seconds with and without, and augmentation's share of a step.
  """
  build.start()
  settings = {'image_size': size, 'batch_size': batch, 'model.width': width}
  steps = [make_step(**settings), make_step(**settings | OFF)]
  times = []
  for _ in range(rounds):
    pair = []
    for step in steps:
      start = time.perf_counter()
      step()
      pair.append(time.perf_counter() - start)
    times.append(pair)
  augmented, plain = np.median(times, axis=0)
  ratio = statistics.median(1 - pair[1] / pair[0] for pair in times)
  return [f'{augmented:.3f}', f'{plain:.3f}', f'{ratio:.1%}']


def make_step(**settings):
  """Returns a function that takes one training step, input included."""
  config = trainer.make_config(**settings)
  run = trainer.make_run(**settings)
  rng = np.random.default_rng(0)
  side = 2 * config.image_size
  examples = [
    dict(
      image=rng.integers(0, 256, (side, side, 3), np.uint8),
      label=rng.integers(0, 3, (side, side), np.uint8),
    )
    for _ in range(config.batch_size)
  ]
  placed = trainer.make_batches(config, examples)
  state = parallel.replicate(parallel.on_host(run.init))

  def step() -> None:
    nonlocal state
    state, metrics = run.train_step(state, next(placed))
    jax.block_until_ready((state, metrics))

  step()
  step()
  return step


if __name__ == '__main__':
  main()

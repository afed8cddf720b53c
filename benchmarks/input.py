"""Images a second of the input alone, and the steps' time spent waiting for it.

  UNET_JAX_DATA=DIR python benchmarks/input.py [--steps 100]

The input is timed from its files, from what unet_jax.prepare makes of them, and
from memory, where training keeps small sets. Waiting is the time that the loop
spends asking for batches, an upper bound: devices may be at work meanwhile.
"""

import argparse
import itertools
import os
import pathlib
import runpy
import tempfile
import time

import jax
import trainer

from unet_jax import build, parallel
from unet_jax.data import prepared, reading, sources, spec
from unet_jax.training import setup

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
RUNS = {'synthetic': ('multiclass', ''), 'STARE': ('binary', 'stare')}


def main() -> None:
  """Prints two tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--steps', type=int, default=100)
  steps = parser.parse_args().steps
  build.start()
  rates, waits = [], []
  for name, (file, variant) in RUNS.items():
    if variant and not os.path.isdir(os.environ.get('UNET_JAX_DATA', '')):
      continue
    config = runpy.run_path(str(CONFIGS / f'{file}.py'))['get_config'](variant)
    found = sources.open_layout(spec.read(config))
    config = setup.resolve(config, found)
    dataset = sources.load(spec.read(config), found)
    source = dataset.splits['train']
    with tempfile.TemporaryDirectory() as folder:
      read = read_prepared(config, found, pathlib.Path(folder))
      anew = sources.Source(source.keys, source.read)
      ready = sources.Source(source.keys, read)
      rates.append(
        [name, *(rate(config, x, steps) for x in (anew, ready, source))]
      )
    waits.append([name, *wait(config, dataset, steps)])
  print(trainer.table(['images/s', 'files', 'prepared', 'memory'], rates))
  print()
  print(trainer.table(['run', 'ms a step', 'waiting for data, %'], waits))


def read_prepared(config, found, folder: pathlib.Path):
  """Prepares the data set, and returns how to read an example of it."""
  wanted = spec.read(config)
  read = reading.make_reader(wanted, found)
  prepared.write(wanted, found, read, folder, say=lambda _: None)
  config = config.copy_and_resolve_references()
  config.data.update(source='tfds', name=prepared.NAME, root=str(folder))
  wanted = spec.read(config)
  return reading.make_reader(wanted, sources.open_layout(wanted))


def rate(config, source, steps: int) -> str:
  """Returns images a second, the first batches left out."""
  stream = trainer.host_batches(config, source)
  for _ in itertools.islice(stream, 5):
    pass
  start = time.perf_counter()
  for _ in itertools.islice(stream, steps):
    pass
  return f'{steps * config.batch_size / (time.perf_counter() - start):.0f}'


def wait(config, dataset, steps: int) -> tuple[str, str]:
  """Trains; returns ms a step, and the share of asking for data, in percent."""
  run = setup.make_run(config, dataset.stats)
  state = parallel.replicate(parallel.on_host(run.init))
  placed = trainer.make_batches(config, dataset.splits['train'])
  for _ in range(5):
    state, _ = run.train_step(state, next(placed))
  jax.block_until_ready(state)
  waited, start = 0.0, time.perf_counter()
  for _ in range(steps):
    asked = time.perf_counter()
    batch = next(placed)
    waited += time.perf_counter() - asked
    state, _ = run.train_step(state, batch)
  jax.block_until_ready(state)
  taken = time.perf_counter() - start
  return f'{1000 * taken / steps:.0f}', f'{100 * waited / taken:.2f}'


if __name__ == '__main__':
  main()

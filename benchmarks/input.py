"""Measures the input pipeline in images per second, and the wait for it.

  UNET_JAX_DATA=DIR python benchmarks/input.py [--steps 100]

The pipeline reads from the original files, from the files that unet_jax.prepare
writes, and from memory, where training keeps small sets. The wait is the time
that the loop spends in asking for batches. It is an upper bound, since devices
may be busy meanwhile.
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
    layout = sources.open_layout(spec.read(config))
    config = setup.resolve(config, layout)
    dataset = sources.load(spec.read(config), layout)
    source = dataset.splits['train']
    with tempfile.TemporaryDirectory() as folder:
      read = read_prepared(config, layout, pathlib.Path(folder))
      from_files = sources.Source(source.keys, source.read)
      from_prepared = sources.Source(source.keys, read)
      every_source = (from_files, from_prepared, source)
      rates.append([name, *(rate(config, x, steps) for x in every_source)])
    waits.append([name, *wait(config, dataset, steps)])
  print(trainer.table(['images/s', 'files', 'prepared', 'memory'], rates))
  print()
  print(trainer.table(['run', 'ms per step', 'waiting for data, %'], waits))


def read_prepared(config, layout, folder: pathlib.Path):
  """Prepares the data set, and returns a function that reads its examples."""
  data_spec = spec.read(config)
  read = reading.make_reader(data_spec, layout)
  prepared.write(data_spec, layout, read, folder, say=lambda _: None)
  config = config.copy_and_resolve_references()
  config.data.update(source='tfds', name=prepared.NAME, root=str(folder))
  data_spec = spec.read(config)
  return reading.make_reader(data_spec, sources.open_layout(data_spec))


def rate(config, source, steps: int) -> str:
  """Returns images per second, without the first batches."""
  stream = trainer.host_batches(config, source)
  for _ in itertools.islice(stream, 5):
    pass
  start = time.perf_counter()
  for _ in itertools.islice(stream, steps):
    pass
  return f'{steps * config.batch_size / (time.perf_counter() - start):.0f}'


def wait(config, dataset, steps: int) -> tuple[str, str]:
  """Trains; returns ms per step, and the percentage spent waiting for data."""
  run = setup.make_run(config, dataset.stats)
  state = parallel.replicate(parallel.on_host(run.init))
  placed = trainer.make_batches(config, dataset.splits['train'])
  for _ in range(5):
    state, _ = run.train_step(state, next(placed))
  jax.block_until_ready(state)
  waiting, start = 0.0, time.perf_counter()
  for _ in range(steps):
    before = time.perf_counter()
    batch = next(placed)
    waiting += time.perf_counter() - before
    state, _ = run.train_step(state, batch)
  jax.block_until_ready(state)
  seconds = time.perf_counter() - start
  return f'{1000 * seconds / steps:.0f}', f'{100 * waiting / seconds:.2f}'


if __name__ == '__main__':
  main()

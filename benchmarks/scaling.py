"""Measures how a training step scales with devices, image size and width.

  python benchmarks/scaling.py [--devices 1 2 4 8] [--rounds 5]

Each row runs in a process of its own. Simulated devices share this machine's
cores, so at the same global batch one device has the best step time; the excess
is the cost of the mapping and its collectives. The bytes are those that each
device all-reduces in a step, read from the compiled program.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
import trainer

from unet_jax import build, parallel

BASE = dict(devices=1, size=128, batch=8, width=16, engine='auto')
SIZES = (64, 128, 256, 512)
WIDTHS = (8, 16, 32, 64)


def main() -> None:
  """Prints the three tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--devices', nargs='*', type=int, default=[1, 2, 4, 8])
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument(
    '--row', default='', help='JSON: measure this row only; internal.'
  )
  args = parser.parse_args()
  if args.row:
    print(json.dumps(measure(args.rounds, **json.loads(args.row))))
    return
  print_devices(args.devices, args.rounds)
  print_cost('size', SIZES, args.rounds, 'pixels', lambda size: size**2)
  print_cost('width', WIDTHS, args.rounds, 'width', lambda width: width)


def print_devices(devices: list[int], rounds: int) -> None:
  """Prints a row for each number of devices, with the same global batch."""
  results = [run_row(rounds, devices=n) for n in devices]
  rows = [
    [
      n,
      row['num_reduces'],
      f'{row["gradient_bytes"] / 1e6:.3f}',
      f'{row["other_bytes"] / 1e6:.3f}',
      f'{row["compile"]:.1f}',
      f'{row["step"]:.3f}',
      f'{100 * (row["step"] / results[0]["step"] - 1):+.0f} %',
    ]
    for n, row in zip(devices, results, strict=True)
  ]
  header = ['devices', 'all-reduces', 'MB of gradients', 'MB of the rest']
  header += ['compile, s', 'step, s', 'over one device']
  print(f'\nBy devices: {BASE}\n')
  print(trainer.table(header, rows), flush=True)


def print_cost(key: str, values, rounds: int, name: str, amount) -> None:
  """Prints a row for each value, and the exponent of a power law fit."""
  steps = [run_row(rounds, **{key: value})['step'] for value in values]
  slope, _ = np.polyfit(np.log([amount(v) for v in values]), np.log(steps), 1)
  last = math.log(steps[-1] / steps[-2]) / math.log(
    amount(values[-1]) / amount(values[-2])
  )
  rows = [[v, f'{s:.3f}'] for v, s in zip(values, steps, strict=True)]
  print(
    f'\nBy {key}: {BASE}. Seconds grow as {name}^{slope:.2f}, '
    f'between the last two rows as {name}^{last:.2f}.\n'
  )
  print(trainer.table([key, 'step, s'], rows), flush=True)


def run_row(rounds: int, **settings) -> dict:
  """Measures in a new process, since JAX sets up its devices only once."""
  row = json.dumps(BASE | settings)
  done = subprocess.run(
    [sys.executable, __file__, '--rounds', str(rounds), '--row', row],
    env=os.environ | {'JAX_ENABLE_COMPILATION_CACHE': 'false'},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def measure(rounds: int, *, devices, size, batch, width, engine) -> dict:
  """Compiles and runs steps; returns seconds and the all-reduced bytes."""
  if devices > 1:
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', devices)
  build.start()
  run = trainer.make_run(
    **{'engine': engine, 'image_size': size, 'model.width': width}
  )
  state = parallel.replicate(parallel.on_host(run.init))
  rng = np.random.default_rng(0)
  placed = parallel.place_batch(
    dict(
      image=rng.integers(0, 256, (batch, size, size, 3), np.uint8),
      label=rng.integers(0, 3, (batch, size, size), np.uint8),
      index=np.arange(batch, dtype=np.int32),
    )
  )
  start = time.perf_counter()
  step = run.train_step.lower(state, placed).compile()
  compile_seconds = time.perf_counter() - start
  state, _ = jax.block_until_ready(step(state, placed))
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, placed))
    times.append(time.perf_counter() - start)
  text = step.as_text()
  assert text is not None
  reduced = all_reduced(text) if devices > 1 else []
  gradients = 4 * sum(x.size for x in jax.tree.leaves(state.params))
  return {
    'num_reduces': len(reduced),
    'gradient_bytes': gradients if devices > 1 else 0,
    'other_bytes': sum(reduced) - gradients if devices > 1 else 0,
    'compile': compile_seconds,
    'step': statistics.median(times),
  }


def all_reduced(hlo: str) -> list[int]:
  """Returns the bytes of each all-reduce; all operands are float32."""
  results = re.findall(r' = (.+?) all-reduce(?:-start)?\(', hlo)
  shapes = [re.findall(r'f32\[([\d,]*)\]', result) for result in results]
  return [
    sum(4 * math.prod(int(n) for n in dims.split(',') if n) for dims in arrays)
    for arrays in shapes
  ]


if __name__ == '__main__':
  main()

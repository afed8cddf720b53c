"""Where a training step's time goes, by operation, beside the machine's limit.

  python benchmarks/operations.py [--case 32x256x4] [--infer]

Read off a trace of JAX's profiler: an operation's time is that of its kernel
on the device. The limit is the rate of a product of two matrices of 4096, by
the engine that runs the convolutions. On GPUs command buffers are off, since a
trace doesn't look into them.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault('XLA_FLAGS', '--xla_gpu_enable_command_buffer=')

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import trainer  # noqa: E402

from unet_jax import build  # noqa: E402
from unet_jax.nn import conv  # noqa: E402

SIDE = 4096  # Of the matrices whose product is the limit.
# What the name that JAX gives an operation has -> the part of the step.
PARTS = {
  'transpose(jvp(UNet))': 'the rest, backward',
  'jvp(UNet)': 'the rest, forward',
  'transpose(jvp()': 'loss, backward',
  'jvp()': 'loss, forward',
  '/cond/': 'optimizer, averages',
  '/vmap(': 'augmentation',
}


def main() -> None:
  """Prints the time by kind, the slowest operations, and the limit."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--case', default='32x256x4', help='WIDTHxSIZExBATCH')
  parser.add_argument('--precision', default='auto')
  parser.add_argument('--engine', default='auto')
  parser.add_argument(
    '--infer', action='store_true', help='Not a training step.'
  )
  parser.add_argument('--steps', type=int, default=5)
  parser.add_argument('--rows', type=int, default=12)
  args = parser.parse_args()
  width, size, batch = map(int, args.case.split('x'))
  build.start(args.engine)
  case = trainer.make_case(
    width=width,
    size=size,
    batch=batch,
    precision=args.precision,
    engine=args.engine,
  )
  compiled, steps = case.infer if args.infer else case.train
  found = describe(compiled)
  steps(3)
  steps(args.steps)  # Several in flight take more memory, at first fresh.
  start = time.perf_counter()
  steps(args.steps)
  step_ms = 1e3 * (time.perf_counter() - start) / args.steps
  taken = trace(steps, args.steps, found)
  dtype, engine = case.model.dtype, case.model.engine
  print(f'{args.case}, {dtype.name}, {engine}, ', end='')
  print(f'{jax.devices()[0].device_kind}: {step_ms:.4g} ms a step')
  print_kinds(taken, found)
  print_slowest(taken, found, args.rows)
  flops = case.flops * (1 if args.infer else 3)
  limit = product_rate(dtype, engine)
  print(
    f'\n{flops / 1e9:.4g} GFLOP a step: {flops / step_ms / 1e6:.4g} GFLOP/s; '
    f'a product of matrices reaches {limit / 1e9:.4g}, at which a step would '
    f'take {1e3 * flops / limit:.4g} ms'
  )


def describe(compiled) -> dict[str, tuple[str, str]]:
  """Returns, for each operation of a program, its kind and its full name."""
  found = {}
  for line in compiled.as_text().splitlines():
    if not (named := re.match(r'\s*(?:ROOT )?%?([\w.-]+) = ', line)):
      continue
    target = re.search(r'custom_call_target="([^"]+)"', line)
    op_name = re.search(r'op_name="([^"]*)"', line)
    name = op_name[1] if op_name else ''
    part = next((v for k, v in PARTS.items() if k in name), 'others')
    found[named[1]] = (target[1] if target else part, name)
  return found


def trace(steps: Callable, count: int, found: dict) -> dict[str, float]:
  """Takes steps; returns the milliseconds a step of each operation."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      steps(count)
    (path,) = pathlib.Path(folder).glob('**/*.trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  taken: dict[str, float] = collections.defaultdict(float)
  for event in events:
    name = event.get('args', {}).get('hlo_op') or event.get('name')
    if event.get('ph') == 'X' and name in found:
      taken[name] += event['dur'] / 1e3 / count
  return taken


def print_kinds(taken: dict[str, float], found: dict) -> None:
  """Prints a row for each kind of operation."""
  kinds = collections.defaultdict(list)
  for name, ms in taken.items():
    kinds[found[name][0]].append(ms)
  total = sum(taken.values())
  rows = [
    [kind, len(each), f'{sum(each):.4g}', f'{100 * sum(each) / total:.1f}']
    for kind, each in sorted(kinds.items(), key=lambda kind: -sum(kind[1]))
  ]
  rows.append(['all', len(taken), f'{total:.4g}', '100.0'])
  print(trainer.table(['kind', 'operations', 'ms a step', '%'], rows))


def print_slowest(taken: dict[str, float], found: dict, count: int) -> None:
  """Prints a row for each of the slowest operations."""
  slowest = sorted(taken, key=lambda name: -taken[name])[:count]
  rows = [
    [name, found[name][0], found[name][1][-60:], f'{taken[name]:.4g}']
    for name in slowest
  ]
  print()
  print(trainer.table(['operation', 'kind', 'of', 'ms a step'], rows))


def product_rate(dtype: jnp.dtype, engine: str) -> float:
  """Returns the operations a second of a product, the best of a few."""
  x = jnp.ones((1, 64, SIDE // 64, SIDE), dtype)
  kernel = jnp.ones((1, 1, SIDE, SIDE), dtype)
  product = jax.jit(lambda x, kernel: conv.conv(x, kernel, engine=engine))
  seconds = []
  for _ in range(8):
    start = time.perf_counter()
    product(x, kernel).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * SIDE**3 / min(seconds)


if __name__ == '__main__':
  main()

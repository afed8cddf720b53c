"""Profiles a training step by operation, and compares it with a lower limit.

  python benchmarks/operations.py [--case 32x256x4] [--infer]

The times come from a trace of JAX's profiler: an operation's time is that of
its kernel on the device. The limit is the time of all operations at the rate of
a product of two 4096 x 4096 matrices, by the engine that runs the convolutions.
On GPUs command buffers are off, since a trace doesn't look into them.
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

SIDE = 4096  # Side of the matrices whose product sets the limit.
# Substring of JAX's name of an operation -> the part of the step.
PARTS = {
  'transpose(jvp(UNet))': 'the rest, backward',
  'jvp(UNet)': 'the rest, forward',
  'transpose(jvp()': 'loss, backward',
  'jvp()': 'loss, forward',
  '/cond/': 'optimizer, averages',
  '/vmap(': 'augmentation',
}


def main() -> None:
  """Prints the time of each kind, the slowest operations, and the limit."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--case', default='32x256x4', help='WIDTHxSIZExBATCH')
  parser.add_argument('--precision', default='auto')
  parser.add_argument('--engine', default='auto')
  parser.add_argument(
    '--infer', action='store_true', help='Inference, not a training step.'
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
  operations = describe(compiled)
  steps(3)
  steps(args.steps)  # Several steps in flight first need more, fresh memory.
  start = time.perf_counter()
  steps(args.steps)
  step_ms = 1e3 * (time.perf_counter() - start) / args.steps
  times = trace(steps, args.steps, operations)
  dtype, engine = case.model.dtype, case.model.engine
  print(f'{args.case}, {dtype.name}, {engine}, ', end='')
  print(f'{jax.devices()[0].device_kind}: {step_ms:.4g} ms per step')
  print_kinds(times, operations)
  print_slowest(times, operations, args.rows)
  flops = case.flops * (1 if args.infer else 3)
  limit = product_rate(dtype, engine)
  print(
    f'\n{flops / 1e9:.4g} GFLOP per step: {flops / step_ms / 1e6:.4g} GFLOP/s; '
    f'a matrix product reaches {limit / 1e9:.4g}, at which a step would take '
    f'{1e3 * flops / limit:.4g} ms'
  )


def describe(compiled) -> dict[str, tuple[str, str]]:
  """Returns the kind and the full name of each operation of a program."""
  operations = {}
  for line in compiled.as_text().splitlines():
    if not (start := re.match(r'\s*(?:ROOT )?%?([\w.-]+) = ', line)):
      continue
    target = re.search(r'custom_call_target="([^"]+)"', line)
    op_name = re.search(r'op_name="([^"]*)"', line)
    name = op_name[1] if op_name else ''
    part = next((v for k, v in PARTS.items() if k in name), 'others')
    operations[start[1]] = (target[1] if target else part, name)
  return operations


def trace(steps: Callable, count: int, operations: dict) -> dict[str, float]:
  """Takes steps; returns each operation's milliseconds per step."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      steps(count)
    (path,) = pathlib.Path(folder).glob('**/*.trace.json.gz')
    events = json.loads(gzip.decompress(path.read_bytes()))['traceEvents']
  times: dict[str, float] = collections.defaultdict(float)
  for event in events:
    name = event.get('args', {}).get('hlo_op') or event.get('name')
    if event.get('ph') == 'X' and name in operations:
      times[name] += event['dur'] / 1e3 / count
  return times


def print_kinds(times: dict[str, float], operations: dict) -> None:
  """Prints a row for each kind of operation."""
  times_by_kind = collections.defaultdict(list)
  for name, ms in times.items():
    times_by_kind[operations[name][0]].append(ms)
  total = sum(times.values())
  rows = [
    [kind, len(ms), f'{sum(ms):.4g}', f'{100 * sum(ms) / total:.1f}']
    for kind, ms in sorted(
      times_by_kind.items(), key=lambda item: -sum(item[1])
    )
  ]
  rows.append(['all', len(times), f'{total:.4g}', '100.0'])
  print(trainer.table(['kind', 'operations', 'ms per step', '%'], rows))


def print_slowest(
  times: dict[str, float], operations: dict, count: int
) -> None:
  """Prints a row for each of the slowest operations."""
  slowest = sorted(times, key=lambda name: -times[name])[:count]
  rows = [
    [name, operations[name][0], operations[name][1][-60:], f'{times[name]:.4g}']
    for name in slowest
  ]
  print()
  print(trainer.table(['operation', 'kind', 'source', 'ms per step'], rows))


def product_rate(dtype: jnp.dtype, engine: str) -> float:
  """Returns a matrix product's FLOP per second, the best of eight runs."""
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

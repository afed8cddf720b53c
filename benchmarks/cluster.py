"""Estimates how a training step grows from 1 to 1,024 GPUs.

  python benchmarks/cluster.py [--case 64x512x32] [--step_ms 80]

Counts the collectives of the step, their bytes and its FLOP in the program, as
it is lowered for two devices; no GPU is needed. The speeds of H100s and their
links are stated below. Prints, as Markdown, for each number of GPUs, the time
of the collectives by a formula, and the step by the formula and by a simulation
in which each GPU computes at times of its own between two collectives.
"""

import argparse
import math
import re
from typing import NamedTuple

import jax
import numpy as np
import trainer

from unet_jax import parallel

# NVIDIA's data sheet of the H100 SXM: bfloat16 without sparsity, and memory.
PEAK = 989e12  # FLOP/s
# Share of the peak that convolutions reach; an assumption.
SHARE = 0.5
GPUS = 8  # Of a node.
# Fourth-generation NVLink: 900 GB/s, half of it in each direction.
NVLINK = 450e9  # Bytes/s
# DGX H100: a ConnectX-7 of 400 Gb/s for each GPU.
NETWORK = 50e9  # Bytes/s
# Share of these speeds that NCCL reaches; an assumption.
EFFICIENCY = 0.8
# A collective takes this, in a node and for each doubling of nodes; assumed.
START, HOP = 15e-6, 5e-6  # Seconds
JITTER = 0.02  # Standard deviation of the time between two collectives.
NUM_STEPS = 50  # Simulated.
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Program(NamedTuple):
  """What the step of one GPU does."""

  flops: float
  params: int
  collectives: list[int]  # Bytes of each, in the order of the program.


def main() -> None:
  """Prints the program and the table."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--case', default='64x512x32', help='WIDTHxSIZExBATCH')
  parser.add_argument(
    '--step_ms',
    type=float,
    default=0,
    help='a measured step of one GPU; by default that of its FLOP',
  )
  args = parser.parse_args()
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', 2)
  program = read_program(*map(int, args.case.split('x')))
  step = args.step_ms / 1e3 or program.flops / (SHARE * PEAK)
  small = [size for size in program.collectives if size < 1e6]
  print(
    f'{args.case} (width, size, batch of a GPU): {program.params / 1e6:.1f} '
    f'million parameters, {program.flops / 1e12:.1f} TFLOP, '
    f'{len(program.collectives)} collectives: '
    f'{sum(program.collectives) / 1e6:.1f} MB, of which {sum(small) / 1e6:.3f} '
    f'MB in {len(small)}; {1e3 * step:.1f} ms on one GPU\n'
  )
  header = ['GPUs', 'gradients, ms', 'other collectives, ms', 'step, ms']
  header += ['simulated, ms', 'images/s', 'efficiency, %']
  rows = []
  batch = int(args.case.split('x')[2])
  for count in COUNTS:
    times = [collective(size, count) for size in program.collectives]
    large = sum(x for x in times if x >= collective(10**6, count))
    large = large if count > 1 else 0.0
    total = step + sum(times)
    simulated = simulate(step, times, count)
    rows.append(
      [
        count,
        f'{1e3 * large:.2f}',
        f'{1e3 * (sum(times) - large):.2f}',
        f'{1e3 * total:.1f}',
        f'{1e3 * simulated:.1f}',
        f'{count * batch / simulated:,.0f}',
        f'{100 * step / simulated:.0f}',
      ]
    )
  print(trainer.table(header, rows))


def read_program(width: int, size: int, batch: int) -> Program:
  """Lowers the step of two devices, and reads what it does."""
  run = trainer.make_run(
    classes=('a', 'b', 'c'),
    **{
      'engine': 'xla',
      'precision': 'bfloat16',
      'image_size': size,
      'batch_size': 2 * batch,
      'model.width': width,
    },
  )
  state = jax.eval_shape(run.init)
  lowered = run.train_step.lower(
    parallel.abstract(state), trainer.abstract_batch(size, 2 * batch)
  )
  flops = trainer.count_flops(
    run.predictor.model, state.averaged, (batch, size, size, 3)
  )
  return Program(
    flops=3 * flops,
    params=sum(x.size for x in jax.tree.leaves(state.params)),
    collectives=find_collectives(lowered.as_text()),
  )


def find_collectives(text: str) -> list[int]:
  """Returns the bytes of the operands of each collective of StableHLO."""
  sizes = []
  pattern = r'stablehlo\.(?:all_reduce|all_gather)"?\((.*?)\).*?: \((.*?)\) ->'
  for _, operands in re.findall(pattern, text, re.DOTALL):
    shapes = re.findall(r'tensor<((?:\d+x)*)[a-z]+(\d+)>', operands)
    sizes.append(
      sum(
        math.prod(map(int, dims.split('x')[:-1])) * int(bits) // 8
        for dims, bits in shapes
      )
    )
  return sizes


def collective(size: int, count: int) -> float:
  """Returns the seconds of an all-reduce over `count` GPUs.

  In a node the GPUs reduce and scatter over NVLink. Then each reduces its part
  over the network with its peers of the other nodes, and the node gathers. A
  ring moves 2 (n - 1) / n of the bytes (Patarasuk and Yuan 2009).
  """
  if count == 1:
    return 0.0
  local = min(count, GPUS)
  nodes = count // local
  seconds = 2 * (local - 1) / local * size / (EFFICIENCY * NVLINK)
  part = size / local
  seconds += 2 * (nodes - 1) / nodes * part / (EFFICIENCY * NETWORK)
  return seconds + START + HOP * math.log2(nodes)


def simulate(step: float, times: list[float], count: int) -> float:
  """Returns the mean seconds of a step of GPUs that wait at each collective."""
  rng = np.random.default_rng(0)
  parts = len(times) + 1
  shape = (NUM_STEPS, parts, count)
  # The same in sum for each GPU; a gamma distribution is never negative.
  mean = step / parts
  draws = rng.gamma(JITTER**-2, mean * JITTER**2, shape)
  if count == 1:
    return float(draws.sum(1).mean())
  return float(draws.max(-1).sum(-1).mean() + sum(times))


if __name__ == '__main__':
  main()

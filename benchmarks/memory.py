"""Tabulates a training step's peak memory by size, batch, width and remat.

  python benchmarks/memory.py [--precision float32] [--sizes 128 256 ...]

The figures are the arguments and temporaries of the program that XLA compiles
for this machine's default device; nothing runs. XLA for CPU computes bfloat16
in float32, so the figures there are those of float32; a GPU needs about half in
bfloat16. On a CPU each cell takes 10 s, and JAX must be 0.12 or newer: older
ones undo remat there.
"""

import argparse
from typing import Any

import jax
import trainer

GIB = 2**30
DEPTH = 4
LARGEST = (1024, 4, 64)  # Size, batch, width of the table by remat level.


def main() -> None:
  """Prints two tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--precision', default='float32')
  parser.add_argument(
    '--sizes', nargs='*', type=int, default=[128, 256, 512, 1024]
  )
  parser.add_argument('--batches', nargs='*', type=int, default=[1, 4, 8])
  parser.add_argument('--widths', nargs='*', type=int, default=[32, 64])
  args = parser.parse_args()
  print(
    f'\nGiB per step, depth {DEPTH}, {args.precision}, jax {jax.__version__}\n'
  )
  header = ['image', 'batch']
  for width in args.widths:
    header += [f'width {width}', f'with remat={DEPTH}']
  rows = [
    [size, batch]
    + [
      gibibytes(size, batch, width, remat, args.precision)
      for width in args.widths
      for remat in (0, DEPTH)
    ]
    for size in args.sizes
    for batch in args.batches
  ]
  print(trainer.table(header, rows))
  size, batch, width = LARGEST
  print(f'\n{batch} images of {size}x{size}, width {width}, by remat level\n')
  rows = [
    [remat, gibibytes(*LARGEST, remat, args.precision)]
    for remat in range(DEPTH + 2)
  ]
  print(trainer.table(['remat', 'GiB'], rows))


def gibibytes(
  size: int, batch: int, width: int, remat: int, precision: str
) -> str:
  """Compiles a step and returns the memory that it needs on each device."""
  run = trainer.make_run(
    **{
      'engine': 'xla',
      'precision': precision,
      'image_size': size,
      'model.depth': DEPTH,
      'model.width': width,
      'model.remat': remat,
    }
  )
  state = jax.eval_shape(run.init)
  lowered = run.train_step.lower(state, trainer.abstract_batch(size, batch))
  memory: Any = lowered.compile().memory_analysis()
  peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
  return f'{peak / GIB:.2f}'


if __name__ == '__main__':
  main()

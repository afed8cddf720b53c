"""Compiles a training step for a GPU, without the GPU, and lists its kernels.

  make cuda-program [ARGS='--cases 32x256x32 --infer']

Compiles for the card that benchmarks/cards/ describes and prints the calls of
libraries, the bytes that kernels move, by group, and the largest kernels;
benchmarks/cuda_program.md is the latest output. The plans are cuDNN's first
guesses, since tuning needs the card. Exits with 1 if a convolution is neither a
cuDNN graph nor a matrix product, or if a conditional or loop is left. It needs
`jax[cuda12]` and a cuDNN that accepts the card's description from this XLA;
`make cuda-program` makes such an environment.
"""

import argparse
import collections
import importlib.metadata
import os
import pathlib
import re
import sys

os.environ['JAX_PLATFORMS'] = 'cpu'

import hlo
import jax
import numpy as np
import trainer
from jax.experimental import topologies
from jax.sharding import Mesh

from unet_jax import compiler, parallel
from unet_jax.data import sources
from unet_jax.evaluation import predictor
from unet_jax.training import memory, setup

CARDS = pathlib.Path(__file__).parent / 'cards'
DEPTH = 4
NUM_LARGEST = 12
# Further options, since there is no card to tune on or for cuDNN to query.
OPTIONS = {
  'xla_gpu_autotune_level': 0,
  'xla_gpu_cudnn_deviceless_compilation_mode': (
    'CUDNN_DEVICELESS_COMPILATION_ALWAYS'
  ),
}
# A fused kernel has the scope of its last operation. The first pattern that the
# scope matches gives the kernel's group.
GROUPS = (
  ('3x3 convolutions', r'/conv\d/conv_general'),
  ('head', r'/head/'),
  ('up-convolutions', r'/up\d+/'),
  ('concatenation of skips', r'/conv\d/concatenate'),
  ('batch norm: sums for gradients', r'transpose.*/norm\d/.*reduce'),
  ('batch norm: gradients', r'transpose.*/norm\d/'),
  ('batch norm: statistics', r'/norm\d/.*reduce'),
  ('batch norm: normalise, ReLU', r'/norm\d/'),
  ('pooling, skips, input', r'UNet'),
  ('augmentation', r'vmap'),
  ('optimizer, averages', r'/cond'),
  ('loss, metrics, copies', r''),
)


def main() -> None:
  """Compiles and prints each case, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument(
    '--cases',
    nargs='*',
    default=['32x256x32', '64x512x32', '16x128x8'],
    help='WIDTHxSIZExBATCH',
  )
  parser.add_argument('--card', default='h100', help='a file of cards/')
  parser.add_argument('--infer', action='store_true', help='inference instead')
  args = parser.parse_args()
  description = (CARDS / f'{args.card}.txtpb').read_text()
  (bandwidth,) = re.findall(r'memory_bandwidth: (\d+)', description)
  (name,) = re.findall(r' name: "(.*)"', description)
  topology = topologies.get_topology_desc(
    platform='cuda', target_config=description, topology='1x1x1'
  )
  # Makes unet_jax compile for the card from here on.
  mesh = Mesh(np.array(topology.devices), (parallel.AXIS,))
  options = compiler.CUDA_OPTIONS | OPTIONS
  vars(parallel)['make_mesh'] = lambda: mesh
  vars(compiler)['options'] = lambda: options
  kind = 'Inference' if args.infer else 'A training step'
  cudnn = importlib.metadata.version('nvidia-cudnn-cu12')
  print(f'{kind} for {name}, jax {jax.__version__}, cuDNN {cudnn}')
  faults = []
  for case in args.cases:
    text = compile_case(case, infer=args.infer)
    computations = hlo.parse(text)
    print(f'\n## {case} (width, size, batch), depth {DEPTH}, bfloat16\n')
    print(describe(computations, float(bandwidth)))
    faults += [f'{case}: {fault}' for fault in find_faults(computations)]
  if faults:
    sys.exit('\n'.join(faults))


def compile_case(case: str, *, infer: bool) -> str:
  """Returns the compiled program's text for WIDTHxSIZExBATCH."""
  width, size, batch = map(int, case.split('x'))
  config = trainer.make_config(
    **{
      'batch_size': batch,
      'image_size': size,
      'precision': 'bfloat16',
      'engine': 'cudnn',
      'model.depth': DEPTH,
      'model.width': width,
    }
  )
  stats = sources.Stats(('a', 'b', 'c'), (128.0,) * 3, (64.0,) * 3)
  run = setup.make_run(config, stats)
  if infer:
    variables = parallel.abstract(jax.eval_shape(run.init).averaged)
    sample = {'image': jax.ShapeDtypeStruct((size, size, 3), np.uint8)}
    images = parallel.abstract_batch(sample, batch)
    weights = predictor.weigh(run.predictor, variables)
    network = run.predictor.logits
    assert isinstance(network, jax.stages.Wrapped)
    lowered = network.lower(weights, images)
  else:
    lowered = memory.lower(run, config, trainer.make_examples(size, 1)[0])
  return lowered.compile().as_text() or ''


def find_faults(computations: dict[str, list[hlo.Instruction]]) -> list[str]:
  """Returns a line for each convolution without a library, and each branch."""
  by_library = {x.called for x in computations['ENTRY'] if x.vendor_call}
  return [
    f'{x.name} in {x.scope} is a {x.opcode} that no library runs'
    for name, instructions in computations.items()
    for x in instructions
    if (x.opcode == 'convolution' and name not in by_library)
    or x.opcode in ('conditional', 'while')
  ]


def describe(
  computations: dict[str, list[hlo.Instruction]], bandwidth: float
) -> str:
  """Returns a program's tables; the bandwidth is in bytes per second."""
  kernels = hlo.kernels(computations)
  calls = collections.Counter(x.instruction.vendor_call for x in kernels)
  groups: dict[str, list[hlo.Kernel]] = {name: [] for name, _ in GROUPS}
  for kernel in kernels:
    scope = kernel.instruction.scope
    groups[next(n for n, p in GROUPS if re.search(p, scope))].append(kernel)
  rows = [
    [name, len(part), f'{hlo.total(part) / 1e9:.2f}']
    for name, part in groups.items()
    if part
  ]
  total = hlo.total(kernels)
  largest = sorted(kernels, key=lambda x: -hlo.total([x]))[:NUM_LARGEST]
  rows_of_largest = [_row(x) for x in largest]
  named = ', '.join(f'{n} {name}' for name, n in sorted(calls.items()) if name)
  return '\n\n'.join(
    [
      f'{len(kernels)} kernels, {total / 1e9:.2f} GB: '
      f'{1e3 * total / bandwidth:.2f} ms at the full bandwidth. '
      f'Calls of libraries: {named}.',
      trainer.table(['group', 'kernels', 'GB'], rows),
      trainer.table(['largest kernels', 'MB', 'result'], rows_of_largest),
    ]
  )


def _row(kernel: hlo.Kernel) -> list[str]:
  scope = kernel.instruction.scope.split('/', maxsplit=1)[-1]
  shape = re.sub(r'{[^}]*}', '', kernel.instruction.shape)
  return [scope, f'{hlo.total([kernel]) / 1e6:.0f}', shape]


if __name__ == '__main__':
  main()

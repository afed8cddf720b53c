"""Compares a training step and inference with PyTorch and Keras, in seconds.

  python benchmarks/train_step.py [--rounds 9] [--cases 32x256x4 ...]

With several cases the table has a row for each case, with one case a row for
each contestant. Each contestant runs in a process of its own, and they run
steps in turns, so that changes of the machine's speed affect all alike; ratios
are medians over the rounds. Ours is the trainer's whole step, with input,
augmentation and averaged weights; the peers repeat a step on one batch in the
device's memory. The peers' environments are made in benchmarks/.peers, with
Python 3.11 for PyTorch; --torch names an interpreter that has PyTorch. If JAX
finds a GPU, all contestants run there, except those that need a CPU.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
from typing import Any

import trainer

HERE = pathlib.Path(__file__).parent
PEERS = HERE / '.peers'
DEPTH = 4
TORCH = ('torch==2.13.0', 'numpy')
# Contestant -> its script, its environment's packages, additional settings.
ANYWHERE = {
  'unet_jax': ('ours.py', (), {}),
  'PyTorch': ('pytorch.py', TORCH, {}),
  'PyTorch, compiled': ('pytorch.py', TORCH, {'compile': True}),
}
ON_CPU = {
  'Keras': ('keras_tensorflow.py', ('keras', 'tensorflow-cpu'), {}),
  'unet_jax, XLA alone': ('ours.py', (), {'engine': 'xla'}),
  'unet_jax, no compiler': ('ours.py', (), {'engine': 'rewritten'}),
}
CONTESTANTS = ANYWHERE | ON_CPU


# Peak dense bfloat16 TFLOP/s by the makers' data sheets.
PEAKS = {
  'NVIDIA A100': 312,
  'NVIDIA L4': 121,
  'NVIDIA H100': 989,
  'NVIDIA H200': 989,
}


def main() -> None:
  """Runs each case and prints its table, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument(
    '--cases', nargs='*', default=['32x256x4'], help='WIDTHxSIZExBATCH'
  )
  parser.add_argument(
    '--precisions', nargs='*', default=['float32', 'bfloat16']
  )
  parser.add_argument('--only', nargs='*', choices=list(CONTESTANTS))
  parser.add_argument('--python311', default='python3.11')
  parser.add_argument('--torch', default='', help='A Python with PyTorch.')
  args = parser.parse_args()
  chosen = args.only or (CONTESTANTS if platform() == 'cpu' else ANYWHERE)
  names = ['unet_jax', *(name for name in chosen if name != 'unet_jax')]
  pythons = {}
  for name in names:
    packages = CONTESTANTS[name][1]
    if args.torch and packages == TORCH:
      pythons[name] = args.torch
    else:
      pythons[name] = find_python(packages, args.python311)
  for precision in args.precisions:
    if len(args.cases) > 1:
      print(f'\n{sizes_header(precision, names)}')
    for case in args.cases:
      width, size, batch = map(int, case.split('x'))
      settings = dict(
        depth=DEPTH, width=width, size=size, batch=batch, precision=precision
      )
      measured = measure(settings, pythons, args.rounds)
      if len(args.cases) > 1:
        print(sizes_row(case, measured), flush=True)
      else:
        title = f'width {width}, {batch} images of {size}x{size}'
        print(f'\nDepth {DEPTH}, {title}:\n')
        print(f'{table(measured, precision)}\n')
        facts, times = measured['unet_jax']
        print(rate(facts, times, batch))


def platform() -> str:
  """Returns JAX's default backend.

  A process of its own asks JAX, since it must not keep hold of a GPU.
  """
  code = 'import jax; print(jax.default_backend())'
  return subprocess.check_output(
    [sys.executable, '-c', code], text=True
  ).strip()


def find_python(packages: tuple[str, ...], python311: str) -> str:
  """Returns a contestant's interpreter; makes its environment if needed."""
  if not packages:
    return sys.executable
  folder = PEERS / packages[0].split('=')[0]
  if not (folder / 'done').exists():
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python311, '-m', 'venv', folder], check=True)
    pip = [str(folder / 'bin/python'), '-m', 'pip', 'install', '-q', *packages]
    subprocess.run(pip, check=True)
    (folder / 'done').touch()
  return str(folder / 'bin/python')


def measure(settings: dict, pythons: dict, rounds: int) -> dict:
  """Returns {contestant: (facts, [[train, infer], ...])}, in seconds."""
  processes = {}
  for name, python in pythons.items():
    script, _, more = CONTESTANTS[name]
    processes[name] = start(name, script, settings | more, python)
  facts = {name: answer(p) for name, p in processes.items()}
  counts = {name: fact['parameters'] for name, fact in facts.items()}
  if len(set(counts.values())) > 1:
    raise RuntimeError(f'the networks differ: {counts}')
  times: dict[str, list] = {name: [] for name in processes}
  for _ in range(rounds):
    for name, process in processes.items():
      times[name].append(ask(process))
  for process in processes.values():
    process.communicate()
  return {name: (facts[name], times[name]) for name in processes}


def start(
  name: str, script: str, settings: dict, python: str
) -> subprocess.Popen:
  """Starts a contestant; its stderr goes to NAME.log."""
  PEERS.mkdir(exist_ok=True)
  # This checkout comes before an installed one.
  paths = [str(HERE), str(HERE.parent), os.environ.get('PYTHONPATH', '')]
  return subprocess.Popen(
    [python, HERE / 'peers' / script, json.dumps(settings)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=(PEERS / f'{name}.log').open('w'),
    text=True,
    env=os.environ
    | {
      'PYTHONPATH': os.pathsep.join(filter(None, paths)),
      # The contestants share a GPU's memory.
      'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',
    },
  )


def ask(process: subprocess.Popen) -> list[float]:
  """Lets a contestant take a turn; returns the seconds of each kind of step."""
  assert process.stdin
  process.stdin.write('\n')
  process.stdin.flush()
  return answer(process)


def answer(process: subprocess.Popen) -> Any:
  """Reads a contestant's next line of JSON; skips what libraries print."""
  assert process.stdout
  while line := process.stdout.readline():
    if line.startswith(('{', '[')):
      return json.loads(line)
  raise RuntimeError(f'{process.args!r} ended; see {PEERS}/*.log')


def rate(facts: dict, times: list, batch: int) -> str:
  """Returns our images/s and TFLOP/s, and their share of the device's peak."""
  seconds = statistics.median(pair[0] for pair in times)
  tflops = facts['flops'] / seconds / 1e12
  text = f'{batch / seconds:.1f} images/s, {tflops:.3g} TFLOP/s'
  for device, peak in PEAKS.items():
    if re.match(rf'{device}\b', facts['device']):
      text += f', {tflops / peak:.0%} of the peak of {device} in bfloat16'
  return text


def table(measured: dict, precision: str) -> str:
  """Formats median seconds, and medians of the time divided by ours."""
  header = [precision]
  for kind in ('train', 'infer'):
    header += [f'{kind}, s', 'time / ours']
  rows = [
    [
      f'{name} ({facts["version"]})',
      *compare(measured, name, 0),
      *compare(measured, name, 1),
    ]
    for name, (facts, _) in measured.items()
  ]
  return trainer.table(header, rows)


def sizes_header(precision: str, names: list[str]) -> str:
  """Begins a table with a row for each case, a column for each contestant."""
  header = [f'{precision}: width', 'image', 'batch']
  for kind in ('train', 'infer'):
    header += [f'{kind}: {names[0]}, s', *names[1:]]
  return trainer.table(header, [])


def sizes_row(case: str, measured: dict) -> str:
  """Formats our seconds, and the peers' time divided by ours."""
  cells = case.split('x')
  for kind in (0, 1):
    ours, *peers = (compare(measured, name, kind) for name in measured)
    cells += [ours[0], *(ratio for _, ratio in peers)]
  return trainer.row(cells)


def compare(measured: dict, name: str, kind: int) -> tuple[str, str]:
  """Returns the medians of a contestant's seconds and of seconds / ours."""
  seconds, ours = (
    [turn[kind] for turn in measured[key][1]] for key in (name, 'unet_jax')
  )
  ratios = [theirs / our for theirs, our in zip(seconds, ours, strict=True)]
  return f'{statistics.median(seconds):.3g}', f'{statistics.median(ratios):.2f}'


if __name__ == '__main__':
  main()

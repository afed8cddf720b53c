"""Seconds of a training step and of inference, beside PyTorch and Keras.

  python benchmarks/train_step.py [--rounds 9] [--cases 32x256x4 ...]

Of several cases each has a row, of one each contestant. Every contestant runs
in a process of its own and takes its turn of steps, so that they share the
machine's moods; ratios are medians over the rounds. Ours is the trainer's
whole step, with input, augmentation and averaged weights; the peers step on a
batch that stays put. The peers' environments are made in benchmarks/.peers,
with Python 3.11 for PyTorch; --torch names an interpreter that has PyTorch
already. Where JAX finds a GPU, all run there, and those that only a CPU has
are left out.
"""

import argparse
import json
import os
import pathlib
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
# Contestant -> its script, the packages of its environment, its settings.
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


# Dense bfloat16 TFLOP/s that makers state, to tell the share of it.
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
  wanted = args.only or (CONTESTANTS if platform() == 'cpu' else ANYWHERE)
  names = ['unet_jax', *(name for name in wanted if name != 'unet_jax')]
  pythons = {}
  for name in names:
    packages = CONTESTANTS[name][1]
    is_there = args.torch and packages == TORCH
    pythons[name] = (
      args.torch if is_there else find_python(packages, args.python311)
    )
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
  """Returns what JAX runs on; asked in a process, which lets go of it."""
  code = 'import jax; print(jax.default_backend())'
  return subprocess.check_output(
    [sys.executable, '-c', code], text=True
  ).strip()


def find_python(packages: tuple[str, ...], python311: str) -> str:
  """Returns a contestant's interpreter, making its environment if need be."""
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
  """Starts a contestant; what it says beside its answers goes to NAME.log."""
  PEERS.mkdir(exist_ok=True)
  return subprocess.Popen(
    [python, HERE / 'peers' / script, json.dumps(settings)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=(PEERS / f'{name}.log').open('w'),
    text=True,
    env=os.environ
    | {
      # This checkout, whichever is installed.
      'PYTHONPATH': f'{HERE}{os.pathsep}{HERE.parent}',
      'XLA_PYTHON_CLIENT_PREALLOCATE': 'false',  # A GPU is shared with others.
    },
  )


def ask(process: subprocess.Popen) -> list[float]:
  """Has a contestant take a turn; returns the seconds of each kind of step."""
  assert process.stdin
  process.stdin.write('\n')
  process.stdin.flush()
  return answer(process)


def answer(process: subprocess.Popen) -> Any:
  """Reads a contestant's next line of JSON, past what libraries print."""
  assert process.stdout
  while line := process.stdout.readline():
    if line.startswith(('{', '[')):
      return json.loads(line)
  raise RuntimeError(f'{process.args!r} ended; see {PEERS}/*.log')


def rate(facts: dict, times: list, batch: int) -> str:
  """Says our images and operations per second, and what share that is."""
  seconds = statistics.median(pair[0] for pair in times)
  tflops = facts['flops'] / seconds / 1e12
  text = f'{batch / seconds:.1f} images/s, {tflops:.3g} TFLOP/s'
  for device, peak in PEAKS.items():
    if facts['device'].startswith(device):
      text += f', {tflops / peak:.0%} of the peak of {device} in bfloat16'
  return text


def table(measured: dict, precision: str) -> str:
  """Lays out medians, and the peers' time over ours, round by round."""
  header = [precision]
  for kind in ('train', 'infer'):
    header += [f'{kind}, s', 'times ours']
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
  """Begins a table of a row a case, and a column a contestant."""
  header = [f'{precision}: width', 'image', 'batch']
  for kind in ('train', 'infer'):
    header += [f'{kind}: {names[0]}, s', *names[1:]]
  return trainer.table(header, [])


def sizes_row(case: str, measured: dict) -> str:
  """Lays out our seconds, and the peers' time over ours."""
  cells = case.split('x')
  for kind in (0, 1):
    ours, *peers = (compare(measured, name, kind) for name in measured)
    cells += [ours[0], *(ratio for _, ratio in peers)]
  return trainer.row(cells)


def compare(measured: dict, name: str, kind: int) -> tuple[str, str]:
  """Returns the median of a contestant's seconds, and that of times ours."""
  seconds, ours = (
    [turn[kind] for turn in measured[who][1]] for who in (name, 'unet_jax')
  )
  ratios = [one / our for one, our in zip(seconds, ours, strict=True)]
  return f'{statistics.median(seconds):.3g}', f'{statistics.median(ratios):.2f}'


if __name__ == '__main__':
  main()

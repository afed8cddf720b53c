"""Seconds from a command to its first step, and to its help.

  python benchmarks/startup.py [--rounds 3]

The first step has happened once its row is in metrics.jsonl. Cold is with an
empty cache folder, where the run also builds the embedded data and the native
operation; warm with what a run before left there.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import trainer

ROOT = pathlib.Path(__file__).parents[1]
# Door -> the imports that it puts off until its flags are read.
DOORS = {
  'main': 'from unet_jax.training import loop',
  'evaluate': 'from unet_jax.evaluation import trained',
  'predict': 'from unet_jax.evaluation import predictions',
}


def main() -> None:
  """Prints two tables, as Markdown."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=3)
  rounds = parser.parse_args().rounds
  rows = []
  for door, imports in DOORS.items():
    by_help = [
      seconds('-m', f'unet_jax.{door}', '--help') for _ in range(rounds)
    ]
    by_import = [seconds('-c', imports) for _ in range(rounds)]
    rows.append([door, median(by_help), median(by_import)])
  print(trainer.table(['door', '`--help`, s', 'all its imports, s'], rows))
  with tempfile.TemporaryDirectory() as folder:
    times = [
      first_step(pathlib.Path(folder), f'run{i}') for i in range(rounds + 1)
    ]
  print()
  print(
    trainer.table(
      ['cache', 'command to first step, s'],
      [['cold', median(times[:1])], ['warm', median(times[1:])]],
    )
  )


def median(times: list[float]) -> str:
  """Returns the median in seconds."""
  return f'{statistics.median(times):.2f}'


def seconds(*args: str) -> float:
  """Returns how long Python takes with these arguments."""
  start = time.perf_counter()
  subprocess.run([sys.executable, *args], cwd=ROOT, stdout=subprocess.DEVNULL)
  return time.perf_counter() - start


def first_step(folder: pathlib.Path, name: str) -> float:
  """Starts a run, and ends it once its first step is logged."""
  command = [
    *(sys.executable, '-m', 'unet_jax.main'),
    *('--config', 'configs/multiclass.py', '--config.total_steps=1'),
    *('--workdir', str(folder / name)),
  ]
  metrics = folder / name / 'metrics.jsonl'
  start = time.perf_counter()
  process = subprocess.Popen(
    command,
    cwd=ROOT,
    env=os.environ | {'XDG_CACHE_HOME': str(folder / 'cache')},
    stdout=subprocess.DEVNULL,
  )
  while not (metrics.exists() and metrics.read_text()):
    if process.poll() is not None:
      raise RuntimeError('the run ended before its first step')
    time.sleep(0.01)
  taken = time.perf_counter() - start
  process.terminate()
  process.wait()
  return taken


if __name__ == '__main__':
  main()

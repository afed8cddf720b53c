"""Measures the seconds from a command to its first step, and to its help.

  python benchmarks/startup.py [--rounds 3]

The first step ends when its row is in metrics.jsonl. A cold run starts with an
empty cache folder, so it also builds the embedded data and the native
operations. A warm run uses the cache of the run before.
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
# Command -> the imports that it delays until its flags are read.
COMMANDS = {
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
  for command, imports in COMMANDS.items():
    by_help = [
      seconds('-m', f'unet_jax.{command}', '--help') for _ in range(rounds)
    ]
    by_import = [seconds('-c', imports) for _ in range(rounds)]
    rows.append([command, median(by_help), median(by_import)])
  print(trainer.table(['command', '`--help`, s', 'all imports, s'], rows))
  with tempfile.TemporaryDirectory() as folder:
    times = [
      first_step(pathlib.Path(folder), f'run{i}') for i in range(rounds + 1)
    ]
  print()
  print(
    trainer.table(
      ['cache', 'time to first step, s'],
      [['cold', median(times[:1])], ['warm', median(times[1:])]],
    )
  )


def median(times: list[float]) -> str:
  """Returns the median of times in seconds, as text."""
  return f'{statistics.median(times):.2f}'


def seconds(*args: str) -> float:
  """Returns how long Python takes with these arguments."""
  start = time.perf_counter()
  subprocess.run([sys.executable, *args], cwd=ROOT, stdout=subprocess.DEVNULL)
  return time.perf_counter() - start


def first_step(folder: pathlib.Path, name: str) -> float:
  """Starts a run and ends it after its first step; returns the seconds."""
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
  elapsed = time.perf_counter() - start
  process.terminate()
  process.wait()
  return elapsed


if __name__ == '__main__':
  main()

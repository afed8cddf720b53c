"""Scripts that no test runs to their end: they start. mypy checks the rest."""

import pathlib
import subprocess
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / 'benchmarks'


@pytest.mark.parametrize(
  'name', ['input', 'memory', 'operations', 'scaling', 'train_step']
)
def test_a_benchmark_starts(name):
  done = subprocess.run(
    [sys.executable, FOLDER / f'{name}.py', '--help'],
    capture_output=True,
    text=True,
    env={'PYTHONPATH': str(FOLDER.parent)},
  )
  assert done.returncode == 0, done.stderr
  assert 'usage' in done.stdout

"""Benchmarks that no test runs start; mypy checks the rest of them."""

import pathlib

import pytest
from commands import run

FOLDER = pathlib.Path(__file__).parents[1] / 'benchmarks'


@pytest.mark.process
def test_benchmarks_start():
  """Asks all of them for help in one process, which sets up JAX like them."""
  program = (
    'import runpy, sys\n'
    'for path in sys.argv[1:]:\n'
    "  sys.argv = [path, '--help']\n"
    '  try:\n'
    "    runpy.run_path(path, run_name='__main__')\n"
    '  except SystemExit as end:\n'
    '    assert not end.code, path\n'
  )
  names = ('input', 'memory', 'metrics', 'operations', 'scaling', 'train_step')
  paths = [FOLDER / f'{name}.py' for name in names]
  settings = {'PYTHONPATH': f'{FOLDER}:{FOLDER.parent}'}
  done = run('-c', program, *paths, **settings)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count('usage') == len(names)

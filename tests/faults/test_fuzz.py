"""Damaged files of every kind that is read give an image, or one line."""

import json
import os
import pathlib

import harness
import pytest
from commands import run

pytestmark = [pytest.mark.slow, pytest.mark.process]

COUNT = 100  # Files of each kind.


def test_damaged_files_are_read_or_refused_with_a_line(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  trained = harness.Run(1, *args, '--config.total_steps=20')
  assert trained.end() == 0, trained.stderr
  predicted = harness.Run(
    *(1, 'predict', '--workdir', tmp_path / 'run'),
    *('--input', tmp_path / 'data/images', '--output', tmp_path / 'run/masks'),
  )
  assert predicted.end() == 0, predicted.stderr
  script = pathlib.Path(__file__).with_name('fuzz.py')
  path = os.pathsep.join([os.getcwd(), os.environ.get('PYTHONPATH', '')])
  done = run(script, COUNT, tmp_path / 'run', PYTHONPATH=path)
  assert done.returncode == 0, done.stderr[-2000:]
  results = json.loads(done.stdout)
  for kind, result in results.items():
    print(kind, result['outcomes'])
  faults = {kind: x['faults'] for kind, x in results.items() if x['faults']}
  assert not faults, json.dumps(faults, indent=1)

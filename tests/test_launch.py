"""Two processes on one machine give the results of one process."""

import json
import os
import subprocess

import numpy as np
import pytest
from commands import ROOT, call, rows

pytestmark = pytest.mark.process


def launch(python, *args):
  """Runs launch/local.sh with two processes, and waits for its end."""
  return subprocess.run(
    ['launch/local.sh', '--processes', '2', *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
    env=os.environ | {'PYTHON': python},
  )


def test_two_processes_end_with_the_losses_and_scores_of_one(
  tmp_path, fundus_root, counted_python
):
  args = (
    *('--config', 'configs/multiclass.py:tiny', '--config.image_size=32'),
    *(f'--config.data.root={fundus_root}', '--config.precision=float32'),
    '--config.model.depth=1',
  )
  call('main', *args, '--workdir', tmp_path / 'one')
  done = launch(counted_python, *args, '--workdir', tmp_path / 'two')
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'over 2 processes' in done.stdout
  assert done.stdout.count('written to') == 1
  one, two = rows(tmp_path / 'one'), rows(tmp_path / 'two')
  assert len(one) == len(two) > 0
  for a, b in zip(one, two, strict=True):
    assert (a['step'], a['split']) == (b['step'], b['split'])
    # Adam's first steps have full size even for a tiny gradient, so rounding
    # errors of gradients become differences of weights.
    for name, rtol in (('loss', 2e-4), ('grad_norm', 5e-3), ('macro_f1', 5e-3)):
      if name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, err_msg=name)
  reports = [
    json.loads((tmp_path / run / 'evaluation/test.json').read_text())
    for run in ('one', 'two')
  ]
  for a, b in zip(*(r['confusion'].values() for r in reports), strict=True):
    assert a['tp'] + a['fn'] == b['tp'] + b['fn']
    np.testing.assert_allclose(a['tp'], b['tp'], atol=0.001 * 20 * 256 * 256)


def test_one_process_that_fails_ends_the_launch(tmp_path, counted_python):
  """The other process waits for the first, and so would JAX at its exit."""
  python = tmp_path / 'one_fails'
  python.write_text(
    '#!/bin/sh\n'
    'case "$*" in *"--process_id 1"*)\n'
    '  set -- "$@" --config.batch_size=3;;\n'
    'esac\n'
    f'exec {counted_python} "$@"\n'
  )
  python.chmod(0o755)
  done = launch(
    *(str(python), '--config', 'configs/multiclass.py:tiny'),
    *('--workdir', tmp_path / 'run'),
  )
  assert done.returncode != 0
  assert 'config.batch_size is 3; it must be a multiple of the 2' in done.stderr
  assert not (tmp_path / 'run/checkpoints').exists()


def test_the_slurm_script_runs_the_same_command():
  script = (ROOT / 'launch/slurm.sbatch').read_text()
  command = '"${PYTHON:-python}" -m unet_jax.main "$@"'
  assert f'srun --kill-on-bad-exit=1 {command}' in script
  subprocess.run(['bash', '-n', ROOT / 'launch/slurm.sbatch'], check=True)

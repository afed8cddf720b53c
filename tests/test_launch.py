"""Two processes on one machine find what one process finds."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from test_run import call, rows

ROOT = pathlib.Path(__file__).parents[1]


def test_two_processes_end_with_the_losses_and_scores_of_one(
  tmp_path, fundus_root
):
  args = (
    *('--config', 'configs/multiclass.py:tiny'),
    f'--config.data.root={fundus_root}',
    '--config.precision=float32',
  )
  call('main', *args, '--workdir', tmp_path / 'one')
  done = subprocess.run(
    [
      *('launch/local.sh', '--processes', '2', *args),
      *('--workdir', str(tmp_path / 'two')),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'PYTHON': sys.executable},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'over 2 processes' in done.stdout
  assert done.stdout.count('written to') == 1
  one, two = rows(tmp_path / 'one'), rows(tmp_path / 'two')
  assert len(one) == len(two) > 0
  for a, b in zip(one, two, strict=True):
    assert (a['step'], a['split']) == (b['step'], b['split'])
    # Adam's first steps are of full size however small a gradient is, and so
    # turn its rounding into differences of weights.
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


def test_a_process_that_fails_ends_the_launch(tmp_path):
  done = subprocess.run(
    [
      *('launch/local.sh', '--processes', '2'),
      *('--config', 'configs/multiclass.py:tiny', '--config.batch_size=3'),
      *('--workdir', str(tmp_path / 'run')),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
    env=os.environ | {'PYTHON': sys.executable},
  )
  assert done.returncode != 0
  assert 'config.batch_size is 3; it must be a multiple of the 2' in done.stderr


def test_the_slurm_script_runs_the_same_command():
  script = (ROOT / 'launch/slurm.sbatch').read_text()
  command = '"${PYTHON:-python}" -m unet_jax.main "$@"'
  assert f'srun --kill-on-bad-exit=1 {command}' in script
  subprocess.run(['bash', '-n', ROOT / 'launch/slurm.sbatch'], check=True)

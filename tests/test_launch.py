"""Several processes on one machine: their results, their start and end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from absl import flags
from commands import ROOT, call, rows, start, write_images
from PIL import Image

from unet_jax import errors, main
from unet_jax.evaluation import prediction_table

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


def write_python(path, script):
  """Writes a stand-in for Python, which runs a script instead of a command."""
  path.write_text(
    '#!/bin/bash\n'
    f'case "$*" in *unet_jax*) ;; *) exec {sys.executable} "$@";; esac\n'
    f'id=${{*: -1}}\n{script}\n'
  )
  path.chmod(0o755)
  return str(path)


def test_a_process_that_fails_ends_the_others_and_gives_the_code(tmp_path):
  python = write_python(
    tmp_path / 'python',
    '[ $id = 1 ] && exit 3; echo $$ > "$4"; trap "" TERM; '
    'while true; do sleep 0.1; done',
  )
  done = launch(python, '--workdir', tmp_path / 'pid')
  assert done.returncode == 3
  assert done.stderr.count('a process ended with 3; ending the others') == 1
  with pytest.raises(ProcessLookupError):
    os.kill(int((tmp_path / 'pid').read_text()), 0)


def test_a_signal_reaches_all_processes_and_the_launch_waits_for_them(tmp_path):
  python = write_python(
    tmp_path / 'python',
    f'trap "sleep 1; echo USR1 > {tmp_path}/saved$id; exit 75" USR1; '
    f'touch {tmp_path}/began$id; while true; do sleep 0.1; done',
  )
  process = subprocess.Popen(
    ['launch/local.sh', '--processes', '2'],
    cwd=ROOT,
    env=os.environ | {'PYTHON': python},
  )
  while len(list(tmp_path.glob('began*'))) < 2:
    assert process.poll() is None
    time.sleep(0.02)
  process.send_signal(signal.SIGUSR1)
  assert process.wait(60) == 75
  assert len(list(tmp_path.glob('saved*'))) == 2


def test_the_slurm_script_runs_the_same_command_and_requeues_on_75(tmp_path):
  log = tmp_path / 'log'
  for name, code in (('srun', 75), ('scontrol', 0)):
    (tmp_path / name).write_text(
      f'#!/bin/sh\necho {name} "$@" >> {log}\nexit {code}\n'
    )
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(
    ['bash', ROOT / 'launch/slurm.sbatch', '--workdir', 'a b', '--overwrite'],
    env=os.environ
    | {
      'PATH': f'{tmp_path}:{os.environ["PATH"]}',
      'SLURM_JOB_ID': '7',
      'SLURM_RESTART_COUNT': '1',
      'PYTHON': 'python',
    },
    check=False,
  )
  assert done.returncode == 75
  assert log.read_text() == (
    'srun --wait=120 python -m unet_jax.main --workdir a b\n'
    'scontrol requeue 7\n'
  )


def flags_of(words):
  """Returns {name: value} of flags --NAME=VALUE; main must have them."""
  args = flags.FlagValues()
  main.define(args)
  given = dict(
    word.removeprefix('--').split('=', 1)
    for word in words
    if word.startswith('--')
  )
  unknown = [x for x in given if x not in args and not x.startswith('config')]
  assert not unknown
  return given


def test_the_jobset_starts_as_many_processes_as_it_says_and_resumes_on_75():
  text = (ROOT / 'launch/k8s/jobset.yaml').read_text()
  jobset = yaml.safe_load(text)
  name, (job,) = jobset['metadata']['name'], jobset['spec']['replicatedJobs']
  spec = job['template']['spec']
  (container,) = spec['template']['spec']['containers']
  given = flags_of(container['args'])
  (port,) = container['ports']
  assert given['coordinator'] == (
    f'{name}-{job["name"]}-0-0.{name}:{port["containerPort"]}'
  )
  assert int(given['num_processes']) == spec['completions']
  assert spec['completions'] == spec['parallelism']
  first, _ = spec['podFailurePolicy']['rules']
  assert first['onExitCodes']['values'] == [errors.Preempted.code]
  assert first['onExitCodes']['containerName'] == container['name']
  image = (ROOT / 'launch/k8s/Dockerfile').read_text()
  assert 'ENTRYPOINT ["unet-jax"]' in image


def test_the_skypilot_job_gives_the_flags_of_training_and_resumes_on_75():
  job = yaml.safe_load((ROOT / 'launch/skypilot.yaml').read_text())
  words = job['run'].replace('\\\n', ' ').split()
  assert words[:2] == ['unet-jax', 'train']
  given = flags_of(words)
  for name in ('coordinator', 'num_processes', 'process_id', 'workdir'):
    assert name in given
  recovery = job['resources']['job_recovery']
  assert recovery == {'recover_on_exit_codes': [errors.Preempted.code]}


@pytest.mark.slow
def test_the_jobset_has_the_fields_of_its_interface():
  # Both are large, and nothing else needs them: pip install
  # kubeflow-trainer-api kubernetes-validate
  module = pytest.importorskip(
    'kubeflow_trainer_api.models.jobset_v1alpha2_job_set'
  )
  validator = pytest.importorskip('kubernetes_validate')
  jobset = yaml.safe_load((ROOT / 'launch/k8s/jobset.yaml').read_text())
  # The model drops what it does not know.
  read = module.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()
  assert read['spec']['replicatedJobs'][0]['name'] == 'train'
  assert_has(read, jobset)
  for job in jobset['spec']['replicatedJobs']:
    whole = job['template'] | {'apiVersion': 'batch/v1', 'kind': 'Job'}
    for version in ('1.31', '1.37'):
      validator.validate(whole, version, strict=True)


def assert_has(tree, part):
  """Asserts that a tree of dicts and lists has all entries of another."""
  if isinstance(part, dict):
    for key in part:
      assert_has(tree[key], part[key])
  elif isinstance(part, list):
    for x, y in zip(tree, part, strict=True):
      assert_has(x, y)
  else:
    assert tree == part


@pytest.mark.slow
def test_two_processes_predict_the_files_of_one(finished, tmp_path):
  images = write_images(tmp_path / 'data', 5) / 'images'
  (images / 'im3.png').write_bytes(b'no image')
  args = ('--workdir', finished[0], '--input', images, '--probabilities=png')
  call('predict', *args, '--output', tmp_path / 'one', check=False)
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  processes = [
    start(
      *('-m', 'unet_jax.predict', *args, '--output', tmp_path / 'two'),
      *('--coordinator', address, '--num_processes=2', f'--process_id={i}'),
    )
    for i in range(2)
  ]
  assert [process.wait(timeout=300) for process in processes] == [1, 1]
  one, two = (
    {path.name: path for path in (tmp_path / x).iterdir()}
    for x in ('one', 'two')
  )
  assert one.keys() == two.keys()
  for name in one.keys() - {'predictions.csv'}:
    arrays = (np.asarray(Image.open(x[name])).astype(int) for x in (one, two))
    np.testing.assert_allclose(*arrays, rtol=0, atol=2)
  # The rows of process 0, which has im0, im2 and im4, come first.
  tables = [prediction_table.read(x['predictions.csv']) for x in (one, two)]
  assert list(tables[1]) == ['im0', 'im2', 'im4', 'im1']
  assert tables[0].keys() == tables[1].keys()

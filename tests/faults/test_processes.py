"""A run of several processes ends with a line once one of them is gone."""

import json
import signal
import time

import harness
import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize('victim', [0, 1])
def test_a_process_that_is_gone_is_named_and_the_run_resumes(
  tmp_path, number, victim
):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  args += ('--config.save_every=5', '--peer_timeout=10')
  # Started without the launcher, which would end the other process earlier.
  run = harness.Pair(*args)
  run.wait_for(tmp_path / 'run/checkpoints/5')
  run.processes[victim].send_signal(number)
  began = time.monotonic()
  code, stderr = run.end(1 - victim)
  print(number.name, victim, f'{time.monotonic() - began:.0f} s', stderr)
  run.processes[victim].kill()
  run.end(victim)
  assert code == 1
  reason = {
    (0, signal.SIGKILL): f'process 0 at {run.coordinator} is gone',
    (0, signal.SIGSTOP): f'process 0 at {run.coordinator} is gone',
    (1, signal.SIGKILL): 'process 1 gave no sign of life for 10 s',
    (1, signal.SIGSTOP): 'process 1 gave no sign of life for 10 s',
  }[victim, number]
  assert stderr.splitlines()[-1] == f'error: {reason}'
  assert time.monotonic() - began < 30
  run = harness.Run(2, *args)
  assert run.end() == 0, run.stderr
  assert run.resumed_from() >= 5


def test_another_config_in_one_process_is_named_and_ends_all(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Pair(*args, others=['--config.optim.lr=0.1'])
  for process in range(2):
    code, stderr = run.end(process)
    assert code == 1
    assert 'differs: config.optim.lr is 0.1, and 0.002 in process 0' in stderr
    assert len(stderr.splitlines()) == 1
  assert not (tmp_path / 'run').exists()


def test_another_mask_in_one_process_is_named_and_ends_all(tmp_path):
  homes = tmp_path / 'home0', tmp_path / 'home1'
  for home in homes:
    args = harness.flags(home, '--workdir', tmp_path / 'run')
  path = homes[1] / 'data/masks/im3.png'
  Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
  run = harness.Pair(*args, '--config.data.root=~/data', homes=homes)
  for process in range(2):
    code, stderr = run.end(process)
    assert code == 1
    assert 'not its masks: process 1: image im3; give' in stderr
    assert len(stderr.splitlines()) == 1
  assert not (tmp_path / 'run').exists()


def test_a_process_that_fails_by_itself_ends_the_other(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Pair(*args, others=['--init_from', tmp_path / 'nowhere'])
  code, stderr = run.end(1)
  assert code == 1
  assert 'nowhere holds no checkpoint' in stderr
  code, stderr = run.end(0)
  assert code == 1
  assert 'ended: ' in stderr
  assert 'nowhere holds no checkpoint' in stderr.splitlines()[-1]


def test_a_coordinator_that_is_not_there_is_named(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Pair(*args, '--peer_timeout=5', only=[1])
  code, stderr = run.end(1)
  assert code == 1
  assert f'error: --coordinator {run.coordinator}: process 1' in stderr
  assert len(stderr.splitlines()) == 1


def test_a_process_that_does_not_come_is_named(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Pair(*args, '--peer_timeout=5', only=[0])
  code, stderr = run.end(0)
  assert code == 1
  assert 'process 1 of 2 did not come to' in stderr
  assert len(stderr.splitlines()) == 1


def test_evaluation_on_two_processes_gives_the_scores_of_one(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Run(1, *args, '--config.total_steps=20')
  assert run.end() == 0, run.stderr
  path = tmp_path / 'run/evaluation/train.json'
  reports = []
  for processes in (1, 2):
    run = harness.Run(
      *(processes, 'evaluate', '--workdir', tmp_path / 'run'), '--split=train'
    )
    assert run.end() == 0, run.stderr
    report = json.loads(path.read_text())
    del report['environment']
    reports.append(report)
  assert reports[0] == reports[1]

"""Runs that are ended by signals at random moments lose nothing."""

import os
import random
import signal
import time

import harness
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process]

# By the number of processes.
TIMES = {signal.SIGTERM: {1: 20, 2: 20}, signal.SIGKILL: {1: 40, 2: 10}}


@pytest.fixture(scope='module', params=[1, 2])
def whole(request, tmp_path_factory):
  """Gives the number of processes, the flags of a run, and an unbroken one."""
  folder = tmp_path_factory.mktemp('whole')
  args = harness.flags(folder)
  done = harness.Run(request.param, *args, '--workdir', folder / 'run')
  assert done.end() == 0, done.stderr
  return request.param, args, folder / 'run'


@pytest.mark.parametrize('number', TIMES)
def test_ended_at_random_moments_a_run_ends_as_an_unbroken_one(
  whole, tmp_path, number
):
  processes, args, unbroken = whole
  rng = random.Random(processes)
  num_ended = num_runs = 0
  while True:
    workdir = tmp_path / f'run{num_runs}'
    run = harness.Run(processes, *args, '--workdir', workdir)
    if num_ended < TIMES[number][processes]:
      if rng.random() < 0.7:
        run.wait_for_step()
        time.sleep(rng.random())
      else:  # Before the first step, or in it.
        time.sleep(8 * rng.random())
      if number == signal.SIGKILL:
        os.killpg(run.process.pid, number)
      else:
        run.process.send_signal(number)
    code = run.end()
    print(processes, number.name, code, run.resumed_from(), run.last_line())
    if code == 0:
      harness.assert_same_weights(workdir, unbroken)
      num_runs += 1
      if num_ended >= TIMES[number][processes]:
        break
      continue
    num_ended += 1
    if code == -number and not run.stdout:
      continue  # Python was still starting.
    if number == signal.SIGTERM:
      assert code == 75, run.stderr
      assert 'without --overwrite, resumes' in run.last_line()
      assert 'Traceback' not in run.stderr
    else:
      assert code == -number


@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGHUP])
def test_other_signals_save_too(tmp_path, processes, number):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Run(processes, *args)
  run.wait_for_step()
  run.process.send_signal(number)
  assert run.end() == 75, run.stderr
  assert f'preempted by {number.name}' in run.last_line()


@pytest.mark.parametrize('to', [0, 1])
def test_a_signal_to_one_process_saves_and_ends_both(tmp_path, to):
  run = harness.Run(2, *harness.flags(tmp_path, '--workdir', tmp_path / 'run'))
  run.wait_for_step()
  os.kill(run.children()[to], signal.SIGTERM)
  assert run.end() == 75, run.stderr
  assert f'preempted by SIGTERM to process {to}: step' in run.stderr


@pytest.mark.parametrize('processes', [1, 2])
def test_a_second_signal_ends_a_run_at_once(tmp_path, processes):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Run(processes, *args, '--config.batch_size=2048')
  run.wait_for_step()  # Each takes about a second, and ten lie ahead.
  for _ in range(2):
    run.process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
  assert run.end() == 128 + signal.SIGTERM, run.stderr
  assert 'SIGTERM again: not saved' in run.stderr


def test_nohup_keeps_a_run(tmp_path):
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  run = harness.Run(1, *args, ignored=signal.SIGHUP)
  run.wait_for_step()
  run.process.send_signal(signal.SIGHUP)
  assert run.end() == 0, run.stderr


def test_a_comparison_saves_too(tmp_path):
  args = harness.flags(tmp_path, '--seeds=1', '--workdir', tmp_path / 'runs')
  # The flags of the runs to compare, then of the run to start from.
  source = [x.replace('--config', '--source', 1) for x in args[:-3]]
  run = harness.Run(1, 'compare', *args, *source)
  run.wait_for_step()
  run.process.send_signal(signal.SIGTERM)
  assert run.end() == 75, run.stderr
  assert f'is saved in {tmp_path}/runs; the same' in run.last_line()
  run = harness.Run(1, 'compare', *args, *source)
  run.wait_for_step()
  assert run.resumed_from()
  run.process.send_signal(signal.SIGTERM)
  run.end()

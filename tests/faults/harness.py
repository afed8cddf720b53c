"""A run of seconds that ends alike however often it is ended and resumed."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np
from commands import ROOT, start, write_images

from unet_jax.evaluation import trained

STEPS = 400


def flags(folder, *more):
  """Draws images once; returns the flags of a run on them."""
  root = folder / 'data'
  if not root.exists():
    write_images(root, 12)
  return (
    *('--config', 'configs/binary.py:tiny', '--config.data.source=folder'),
    *(f'--config.data.root={root}', '--config.image_size=32'),
    *('--config.model.depth=1', '--config.engine=xla'),
    *('--config.precision=float32', f'--config.total_steps={STEPS}'),
    *('--config.eval_every=100', '--config.save_every=30'),
    *more,
  )


def assert_same_weights(workdir, other):
  """Asserts that two runs end with equal bits, in `latest` and in `best`.

  Compares the averaged weights, which any number of processes can load.
  """
  for which in ('latest', 'best'):
    one, two = (trained.load(folder, which) for folder in (workdir, other))
    assert one.step == two.step
    jax.tree.map(np.testing.assert_array_equal, one.variables, two.variables)


class Run:
  """A command that runs in its own group of processes, by launch/local.sh.

  One process has two devices, and two have one each.
  """

  def __init__(self, processes, *args, ignored=None, **env):
    if processes == 1:
      env = {'JAX_NUM_CPU_DEVICES': '2'} | env
    ignore = f"trap '' {int(ignored)}; " if ignored else ''
    command = ['launch/local.sh', '--processes', str(processes), *args]
    self.stdout = self.stderr = ''
    self.process = subprocess.Popen(
      ['bash', '-c', ignore + 'exec "$@"', 'bash', *map(str, command)],
      cwd=ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      start_new_session=True,
      env=os.environ | {'PYTHON': sys.executable} | env,
    )

  def wait_for_step(self):
    """Waits until the run prints its first steps, or ends."""
    for line in self.process.stdout:
      self.stdout += line
      if line.startswith('step '):
        break

  def wait_for(self, path, seconds=120):
    """Waits until a file appears, or the run ends."""
    deadline = time.monotonic() + seconds
    while not path.exists() and self.process.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.02)

  def children(self):
    """Returns the process ids of the launcher's processes, in order."""
    pid = self.process.pid
    proc = pathlib.Path('/proc')
    text = (proc / f'{pid}/task/{pid}/children').read_text()
    names = ((x, (proc / x / 'cmdline').read_text()) for x in text.split())
    return [int(x) for x, name in names if 'process_id' in name]

  def end(self, seconds=180):
    """Waits for the end; returns the exit code."""
    stdout, self.stderr = self.process.communicate(timeout=seconds)
    self.stdout += stdout
    return self.process.returncode

  def last_line(self):
    """Returns the last line of stderr."""
    return (self.stderr.strip().splitlines() or [''])[-1]

  def resumed_from(self):
    """Returns the step from which the run has resumed; 0 if it began."""
    match = re.search(r'resumed from step (\d+)', self.stdout)
    return int(match[1]) if match else 0


class Pair:
  """Two processes of a run, without launch/local.sh.

  Args:
    *args: flags of both.
    others: flags of process 1 alone.
    only: the processes to start.
    homes: the home folder of each process, if they differ.
  """

  def __init__(self, *args, others=(), only=(0, 1), homes=()):
    with socket.socket() as listener:
      listener.bind(('localhost', 0))
      self.coordinator = f'localhost:{listener.getsockname()[1]}'
    self.processes = {
      i: start(
        *('-m', 'unet_jax.main', *args, *(others if i else ())),
        *('--coordinator', self.coordinator),
        *('--num_processes=2', f'--process_id={i}'),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ
        | {'JAX_PLATFORMS': 'cpu', 'OMP_NUM_THREADS': '1'}
        | ({'HOME': str(homes[i])} if homes else {}),
      )
      for i in only
    }

  def wait_for(self, path, seconds=120):
    """Waits until a file appears, or process 0 ends."""
    deadline = time.monotonic() + seconds
    while not path.exists() and self.processes[0].poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.02)

  def end(self, process, seconds=120):
    """Waits for the end of a process; returns its exit code and stderr.

    JAX's line on gloo is left out.
    """
    _, stderr = self.processes[process].communicate(timeout=seconds)
    lines = [x for x in stderr.splitlines() if not x.startswith('[Gloo]')]
    return self.processes[process].returncode, '\n'.join(lines)

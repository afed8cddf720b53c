"""A full disk and damaged files cost no more than the time since a save."""

import collections
import contextlib
import shutil
import subprocess

import harness
import jax
import numpy as np
import pytest
from commands import assert_same_weights, weights

from unet_jax import checksums, errors
from unet_jax.evaluation import trained

pytestmark = [pytest.mark.slow, pytest.mark.process]


@contextlib.contextmanager
def small_disk(folder, kilobytes):
  """Mounts a disk of this size in memory."""
  folder.mkdir()
  options = f'size={kilobytes}k'
  command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
  if subprocess.run(command, check=False).returncode:
    pytest.skip('only root mounts disks')
  try:
    yield
  finally:
    subprocess.run(['umount', '--lazy', folder], check=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  args = harness.flags(folder)
  done = harness.Run(1, *args, '--workdir', folder / 'run')
  assert done.end() == 0, done.stderr
  return args, folder / 'run'


@pytest.mark.parametrize('kilobytes', range(20, 820, 40))
def test_on_a_full_disk_a_run_ends_with_a_line_and_resumes_exactly(
  whole, tmp_path, kilobytes
):
  args, unbroken = whole
  disk = tmp_path / 'disk'
  with small_disk(disk, kilobytes):
    run = harness.Run(1, *args, '--workdir', disk / 'run')
    code = run.end(60)
    print(kilobytes, code, run.stderr[-300:])
    assert code in (0, 1)
    if code:
      assert 'No space left on device' in run.last_line()
      assert len(run.stderr.splitlines()) == 1
    subprocess.run(['mount', '-o', 'remount,size=50m', disk], check=True)
    run = harness.Run(1, *args, '--workdir', disk / 'run')
    assert run.end() == 0, run.stderr
    assert_same_weights(disk / 'run', unbroken)
    assert_same_weights(disk / 'run', unbroken, 'best')


def test_of_flipped_bits_none_is_loaded(whole, tmp_path):
  _, unbroken = whole
  workdir = tmp_path / 'run'
  shutil.copytree(unbroken, workdir)
  step, _ = weights(unbroken)
  folder = workdir / 'checkpoints' / str(step)
  files = sorted(path for path in folder.rglob('*') if path.is_file())
  sizes = np.array([path.stat().st_size for path in files])
  rng = np.random.default_rng(0)
  sound = trained.load(workdir, str(step)).variables
  outcomes = collections.Counter()
  for _ in range(200):
    path = files[rng.choice(len(files), p=sizes / sizes.sum())]
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(flipped)
    try:
      jax.tree.map(
        np.testing.assert_array_equal,
        trained.load(workdir, str(step)).variables,
        sound,
      )
      outcomes['used, and alike', path.name] += 1
    except errors.InputError:
      outcomes['refused', path.name] += 1
    path.write_bytes(content)
  print(outcomes)
  used = [name for outcome, name in outcomes if outcome != 'refused']
  assert set(used) <= set(checksums.LATER)

"""Calls the commands for tests, and reads what a run has written."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

from unet_jax import checkpoint

ROOT = pathlib.Path(__file__).parents[1]
TINY = ('--config', 'configs/multiclass.py:tiny')


def call(name, *args, check=True, cwd=ROOT):
  """Calls a command in this process, which has four devices.

  Args:
    name: name of the command, such as main.
    *args: arguments of the command.
    check: whether an exit code other than 0 fails the test.
    cwd: the working folder.

  Returns:
    An object with the exit code as `returncode`, and `stdout`, `stderr`.
  """
  path = f'{name}.__main__' if name in ('doctor', 'export') else name
  command = importlib.import_module(f'unet_jax.{path}')
  stdout, stderr = io.StringIO(), io.StringIO()
  with (
    contextlib.chdir(cwd),
    contextlib.redirect_stdout(stdout),
    contextlib.redirect_stderr(stderr),
  ):
    code = command.main([*map(str, args)])
  done = types.SimpleNamespace(
    returncode=code, stdout=stdout.getvalue(), stderr=stderr.getvalue()
  )
  assert not check or code == 0, done.stdout + done.stderr
  return done


def start(*args, **settings):
  """Starts Python with the arguments in a new process."""
  return subprocess.Popen(
    [sys.executable, *map(str, args)], cwd=ROOT, text=True, **settings
  )


def run(*args, **env):
  """Runs Python with the arguments in a new process, and waits for its end.

  Args:
    *args: arguments of Python.
    **env: additional environment variables.

  Returns:
    A CompletedProcess with `returncode`, `stdout`, `stderr`.
  """
  return subprocess.run(
    [sys.executable, *map(str, args)],
    cwd=ROOT,
    env=os.environ | env,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )


def rows(workdir):
  """Reads metrics.jsonl."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def weights(workdir, which='latest'):
  """Returns the step of a checkpoint, and its arrays by their paths."""
  with checkpoint.make_manager(
    workdir, has_scores=True, read_only=True
  ) as manager:
    step = checkpoint.find_step(manager, which)
    args = {name: ocp.args.StandardRestore() for name in ('state', 'averaged')}
    trees = manager.restore(step, args=ocp.args.Composite(**args))

  def plain(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

  leaves = jax.tree_util.tree_leaves_with_path(dict(trees.items()))
  return step, {jax.tree_util.keystr(p): plain(leaf) for p, leaf in leaves}


def assert_same_weights(workdir, other, which='latest'):
  """Asserts that the checkpoints of two runs have equal steps and bits."""
  (step, arrays), (other_step, others) = (
    weights(folder, which) for folder in (workdir, other)
  )
  assert step == other_step
  assert arrays.keys() == others.keys()
  for path, array in arrays.items():
    assert array.dtype == others[path].dtype, path
    assert array.tobytes() == others[path].tobytes(), path


def write_images(root, count):
  """Writes images of bright discs on noise, and masks of 0 and 255."""
  (root / 'images').mkdir(parents=True)
  (root / 'masks').mkdir()
  rng = np.random.default_rng(0)
  for i in range(count):
    y, x = np.mgrid[:72, :96]
    disc = (y - rng.integers(20, 50)) ** 2 + (x - rng.integers(20, 70)) ** 2
    disc = disc < 15**2
    pixels = rng.integers(0, 100, (72, 96, 3)) + 120 * disc[..., None]
    Image.fromarray(pixels.astype(np.uint8)).save(root / f'images/im{i}.png')
    mask = np.where(disc, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(root / f'masks/im{i}.png')
  return root

"""Sets up four simulated devices, counts processes, makes small data."""
# ruff: noqa: E402

import gc
import os
import pathlib
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile

# Also for child processes; XLA for CPU then compiles in two thirds of the time.
os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'

import commands
import jax
import numpy as np
import pytest
from PIL import Image
from settings import set_data

# Another platform is for the tests marked `device`, which compare it with CPUs.
PLATFORM = os.environ.get('UNET_JAX_TEST_PLATFORM', 'cpu')
jax.config.update(
  'jax_platforms', 'cpu' if PLATFORM == 'cpu' else f'{PLATFORM},cpu'
)
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
# Limit for the whole suite: most processes import JAX, which takes seconds.
MOST_PROCESSES = 30
# The files that take more than 15 s, the longest first. `make test` starts them
# in this order.
LONGEST = (
  *('run', 'real_data', 'step', 'conv', 'unet'),
  *('weights', 'overfit', 'layouts', 'parts', 'lowering'),
  *('launch', 'losses', 'trace', 'old_run', 'comparison'),
)
IS_WORKER = 'PYTEST_XDIST_WORKER' in os.environ
gc.freeze()  # The collector then passes over what the imports have made.
started = []  # The command lines of the processes that tests have started.

# The folder of the session, shared by the workers of pytest-xdist. It holds the
# compilation cache, also for child processes.
if not IS_WORKER:
  os.environ['UNET_JAX_SESSION'] = tempfile.mkdtemp()
SESSION = pathlib.Path(os.environ['UNET_JAX_SESSION'])
os.environ['JAX_COMPILATION_CACHE_DIR'] = str(SESSION / 'xla')
jax.config.update('jax_compilation_cache_dir', str(SESSION / 'xla'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def pytest_configure():
  """Counts the processes that are started after this."""
  init = subprocess.Popen.__init__

  def counted(self, args, *rest, **settings):
    started.append(args)
    init(self, args, *rest, **settings)

  subprocess.Popen.__init__ = counted


def pytest_addoption(parser):
  """Adds --slow."""
  parser.addoption(
    '--slow',
    action='store_true',
    help='run the tests marked slow, and no others',
  )


def pytest_collection_modifyitems(config, items):
  """Drops the slow tests, or all others with --slow; the longest come first."""
  is_slow = config.getoption('--slow')
  others = [x for x in items if bool(x.get_closest_marker('slow')) != is_slow]
  items[:] = [x for x in items if x not in others]
  config.hook.pytest_deselected(items=others)
  # The workers of pytest-xdist then end at the same time.
  place = {f'test_{name}.py': i for i, name in enumerate(LONGEST)}
  items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
  """Adds the processes that a worker of pytest-xdist has started."""
  started.extend(getattr(node, 'workeroutput', {}).get('started', ()))


def pytest_sessionfinish(session):
  """Fails the whole suite if it has started too many processes."""
  if IS_WORKER:
    session.config.workeroutput['started'] = [*map(str, started)]
    return
  shutil.rmtree(SESSION, ignore_errors=True)
  config = session.config
  is_part = config.args_source == pytest.Config.ArgsSource.ARGS
  is_part |= config.option.slow
  is_whole = not (is_part or config.option.keyword or config.option.markexpr)
  if is_whole and len(started) > MOST_PROCESSES:
    session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
  """Prints how many processes were started."""
  terminalreporter.write_line(
    f'{len(started)} processes started; the whole suite may start '
    f'{MOST_PROCESSES}'
  )


@pytest.fixture
def counted_python(tmp_path):
  """Gives the path of a Python whose starts by a shell script are counted."""
  log, path = tmp_path / 'started', tmp_path / 'python'
  path.write_text(
    f'#!/bin/sh\necho "$0" >> {shlex.quote(str(log))}\n'
    f'exec {shlex.quote(sys.executable)} "$@"\n'
  )
  path.chmod(0o755)
  log.touch()
  yield str(path)
  started.extend(log.read_text().splitlines())


@pytest.fixture(scope='session')
def finished(tmp_path_factory, fundus_root):
  """Gives the folder of a finished tiny run, read-only, and its output."""
  workdir = tmp_path_factory.mktemp('runs') / 'tiny'
  done = commands.call(
    *('main', *commands.TINY, '--workdir', workdir),
    f'--config.data.root={fundus_root}',
  )
  return workdir, done.stdout


@pytest.fixture(scope='session')
def load_config():
  """Gives (name, **overrides) -> config, as the command line would load it."""

  def load(name, **overrides):
    file, _, variant = name.partition(':')
    config = runpy.run_path(str(CONFIGS / f'{file}.py'))['get_config'](variant)
    config.lock()
    config.update_from_flattened_dict(overrides)
    return config

  return load


@pytest.fixture(scope='session')
def fundus_root():
  """Builds the embedded data set once; use it as config.data.root."""
  from unet_jax.data.synthetic_fundus import embedded

  root = str(SESSION / 'fundus')
  embedded.make_builder(root)
  return root


@pytest.fixture
def diagnose(load_config):
  """Gives (root, **overrides) -> the doctor's findings, by their titles."""
  from unet_jax.doctor import diagnosis, survey

  def run(root, mask='binary', classes=('a',), task='', **overrides):
    config = load_config('binary:folder')
    with config.unlocked():
      config.task = task or ('binary' if len(classes) == 1 else 'multiclass')
      config.update(image_size=32, batch_size=4, total_steps=20)
    set_data(config, root=str(root), mask=mask, classes=classes, **overrides)
    findings = diagnosis.diagnose(survey.take(config), num_devices=4)
    return {finding.title: finding for finding in findings}

  return run


@pytest.fixture
def write_folder(tmp_path):
  """Gives a writer of a small folder of images and masks.

  Args:
    names: names of the images.
    mask: config.data.masks.kind: `binary` (0 and 255), `index` (0 to 2) or
      `folders` (GT/a and GT/b, which overlap).
    size: height and width.
    lists: lists of names by split: train, val and test.

  Returns:
    The folder's path.
  """

  def write(names='abcd', mask='binary', size=(40, 48), **lists):
    root = tmp_path / 'folder'
    (root / 'images').mkdir(parents=True)
    for i, name in enumerate(names):
      rng = np.random.default_rng(i)
      image = rng.integers(0, 256, (*size, 3), np.uint8)
      Image.fromarray(image).save(root / 'images' / f'{name}.png')
      for folder, array in draw_masks(rng, mask, size).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / folder / f'{name}.png')
    for split, listed in lists.items():
      (root / f'{split}.txt').write_text('\n'.join(listed) + '\n')
    return root

  return write


def draw_masks(rng, mask, size):
  """Returns {folder: uint8[H, W]} of a few coarse random squares."""
  label = rng.integers(0, 3, (4, 4), np.uint8).repeat(size[0], 0)
  label = label.repeat(size[1], 1)[::4, ::4]
  label[:2, :2] = ((0, 1), (2, 2))  # Every class occurs.
  if mask == 'index':
    return {'masks': label}
  if mask == 'binary':
    return {'masks': np.where(label > 0, np.uint8(255), np.uint8(0))}
  planes = {'GT/a': label != 2, 'GT/b': label != 1}
  return {name: 255 * plane.astype(np.uint8) for name, plane in planes.items()}

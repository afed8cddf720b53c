"""What is installed: every package, the presets, the C++ sources."""

import os
import pathlib
import subprocess
import sys
import tomllib
import zipfile

import commands
import pytest

import unet_jax

PROJECT = tomllib.loads((commands.ROOT / 'pyproject.toml').read_text())
SETUP = PROJECT['tool']['setuptools']


def folder_of(package):
  folder = SETUP['package-dir'].get(package, package.replace('.', '/'))
  return commands.ROOT / folder


def test_every_folder_of_code_is_an_installed_package():
  folders = {
    path.parent
    for top in ('unet_jax', 'configs')
    for path in (commands.ROOT / top).rglob('*.py')
  }
  assert {folder_of(package) for package in SETUP['packages']} == folders
  for folder in folders:
    assert (folder / '__init__.py').exists()


def test_every_other_file_beside_the_code_is_installed():
  others = {
    path
    for path in (commands.ROOT / 'unet_jax').rglob('*')
    if path.is_file() and path.suffix not in ('.py', '.pyc')
  }
  installed = {
    path
    for package, patterns in SETUP['package-data'].items()
    for pattern in patterns
    for path in folder_of(package).glob(pattern)
  }
  assert installed == others


def test_the_version_is_said_once():
  assert 'version' not in PROJECT['project']
  assert SETUP['dynamic']['version'] == {'attr': 'unet_jax.__version__'}
  assert unet_jax.__version__[0].isdigit()


def build_wheel(folder):
  """Builds the wheel into a folder; returns its path."""
  # A build writes build/ beside the code, and would take old files from there.
  source = folder / 'source'
  names = subprocess.run(
    ['git', 'ls-files', '-z'],
    cwd=commands.ROOT,
    capture_output=True,
    check=True,
  ).stdout.decode()
  for name in names.split('\0'):
    if name and not name.startswith(('tests/', 'benchmarks/')):
      target = source / name
      target.parent.mkdir(parents=True, exist_ok=True)
      target.write_bytes((commands.ROOT / name).read_bytes())
  subprocess.run(
    [
      *(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps'),
      *('--wheel-dir', folder, source),
    ],
    check=True,
  )
  (path,) = folder.glob('*.whl')
  return path


@pytest.mark.slow
@pytest.mark.process
def test_the_wheel_trains_in_an_empty_folder_with_a_fresh_home(tmp_path):
  site, home, work = (tmp_path / x for x in ('site', 'home', 'work'))
  with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
    wheel.extractall(site)
  home.mkdir()
  work.mkdir()
  env = {
    'PATH': os.environ['PATH'],
    'PYTHONPATH': str(site),
    'HOME': str(home),
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }

  def run(*args):
    done = subprocess.run(
      [sys.executable, '-m', *args],
      cwd=work,
      env=env,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  for config in ('multiclass:tiny', 'configs/multiclass.py:tiny'):
    run('unet_jax', 'train', '--config', config, '--workdir', 'runs/first')
  assert (work / 'runs/first/evaluation/test.json').exists()
  again = run(
    *('unet_jax.main', '--config', 'runs/first/config.json'),
    *('--workdir', 'runs/first'),
  )
  assert 'is finished, at step 4' in again
  assert [path.name for path in work.iterdir()] == ['runs']
  run('unet_jax', 'evaluate', '--workdir', 'runs/first', '--split', 'val')
  commands.write_images(work / 'my_images', 2)
  run(
    *('unet_jax', 'predict', '--workdir', 'runs/first'),
    *('--input', 'my_images/images', '--output', 'masks'),
  )
  assert (work / 'masks/im1.png').exists()
  run('unet_jax', 'report', 'runs/first')
  done = run('unet_jax', 'keys', 'learning_rate')
  assert '  optim.lr = ' in done


@pytest.mark.slow
@pytest.mark.process
def test_make_train_sets_itself_up_and_trains(tmp_path):
  done = subprocess.run(
    [
      *('make', 'train', f'VENV={tmp_path}/venv'),
      f'ARGS=--workdir {tmp_path}/run --config.total_steps=2 '
      '--config.model.width=4 --config.image_size=64',
    ],
    cwd=commands.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert (pathlib.Path(tmp_path) / 'run/evaluation/test.json').exists()
  command = tmp_path / 'venv/bin/unet-jax'
  said = subprocess.run(
    [command, '--version'], capture_output=True, text=True, check=True
  ).stdout
  assert said.strip() == f'unet_jax {unet_jax.__version__}'

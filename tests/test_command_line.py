"""The commands, called repeatedly in one process."""

import json

import pytest
from commands import TINY, call, run, write_images

COMMANDS = (
  *('main', 'evaluate', 'predict', 'prepare', 'compare', 'doctor', 'show'),
)


@pytest.mark.parametrize('name', COMMANDS)
def test_flags_of_one_call_are_unknown_to_the_next(name):
  for _ in range(2):
    done = call(name, '--help')
    lines = done.stdout.splitlines()
    assert '  --[no]overfit: ' in done.stdout or name != 'doctor'
    assert any(line.startswith('  --workdir: ') for line in lines) == (
      name not in ('prepare', 'doctor', 'show')
    )
    assert 'Try --helpfull' in lines[-1]
    assert not done.stderr
  done = call(name, '--helpfull')
  assert 'absl.logging:' in done.stdout
  done = call(name, '--workdri=x', check=False)
  assert done.returncode == 1
  assert done.stderr.startswith("error: Unknown command line flag 'workdri'")


@pytest.mark.parametrize(
  ('name', 'args', 'said'),
  [
    ('main', (), '--config is missing; name a preset or a file, such'),
    ('doctor', (), '--config is missing; name a preset'),
    ('prepare', (), '--config is missing; name a preset'),
    ('prepare', ('--config=configs/binary.py',), '--output is missing; see'),
    ('compare', ('--config=configs/binary.py',), '--source is missing; name'),
    ('evaluate', (), '--workdir is missing; see --help'),
    ('predict', ('--workdir=x', '--output=y'), '--input is missing; see'),
  ],
)
def test_what_is_missing_is_named(name, args, said):
  done = call(name, *args, check=False)
  assert done.returncode == 1
  assert done.stderr.startswith(f'error: {said}')


def test_every_command_runs_in_one_process_twice(
  finished, fundus_root, tmp_path
):
  workdir, _ = finished
  tiny = (*TINY, f'--config.data.root={fundus_root}')
  root = write_images(tmp_path / 'data', 6)
  folder = ('--config', 'configs/binary.py:tiny', '--config.data.source=folder')
  folder += (f'--config.data.root={root}', '--config.model.depth=1')
  for i in range(2):
    assert 'is finished' in call('main', *tiny, '--workdir', workdir).stdout
    # A flag of one call is not set in the next.
    done = call('main', *folder, '--config.batch_size=3', check=False)
    assert 'config.batch_size is 3' in done.stderr
    masks, findings = tmp_path / f'masks{i}', tmp_path / f'{i}.json'
    call(
      *('predict', '--workdir', workdir, '--output', masks),
      *('--input', root / 'images/im0.png'),
    )
    assert (masks / 'im0.png').exists()
    call('doctor', *folder, '--json', findings)
    assert json.loads(findings.read_text())['findings']
    done = call('prepare', *folder, '--output', tmp_path / f'prepared{i}')
    assert 'python -m unet_jax.main --config configs/binary.py' in done.stdout
    done = call('evaluate', '--workdir', workdir, '--split=no', check=False)
    assert 'error: --split no: the data has no such split' in done.stderr
    done = call(
      *('compare', *tiny, '--source=configs/binary.py:tiny'),
      *('--source.optim.lr=-1', '--workdir', tmp_path),
      check=False,
    )
    assert done.stderr.startswith('error: --source.optim.lr is -1.0')


def test_a_file_may_hold_the_flags(tmp_path):
  path = tmp_path / 'flags'
  path.write_text('--config=configs/binary.py:tiny\n--config.optim.lr=-1\n')
  done = call('main', '--flagfile', path, check=False)
  assert done.stderr.startswith('error: config.optim.lr is -1.0')


@pytest.mark.process
@pytest.mark.parametrize('name', ['evaluate', 'prepare', 'compare'])
def test_a_process_has_help_and_that_is_no_failure(name):
  done = run('-m', f'unet_jax.{name}', '--help')
  assert done.returncode == 0
  assert 'flags:' in done.stdout
  assert not done.stderr


@pytest.mark.process
def test_the_help_of_main_has_the_config():
  done = run('-m', 'unet_jax.main', '--help')
  assert done.returncode == 0
  for part in ('  --config: ', '  --workdir: ', 'unet-jax keys'):
    assert part in done.stdout
  assert not done.stderr


@pytest.mark.parametrize('name', ['evaluate', 'predict', 'report'])
def test_a_command_of_runs_says_that_it_takes_no_config(name):
  done = call(name, '--config.data.root=x', check=False)
  assert done.stderr.startswith('error: there is no --config.data.root here')


def test_show_prints_sizes_and_parameters_of_every_part():
  done = call('show', '--config', 'tutorial', '--channels=1')
  rows = [line.split() for line in done.stdout.splitlines()]
  assert rows[0] == ['part', 'output', 'parameters']
  sizes = {row[0]: row[1] for row in rows[1:-1]}
  # Two convolutions 3x3 of 64 features from 1 and 64, with batch norm.
  assert ['down0', '256x256x64', f'{9 * 65 * 64 + 2 * 64 + 4 * 64:,}'] in rows
  assert sizes['head'] == '256x256x1'

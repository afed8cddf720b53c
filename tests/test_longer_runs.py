"""Runs that go on with a larger number of steps."""

import json
import os

import pytest
from commands import assert_same_weights, call, rows, write_images

from unet_jax import config as config_lib
from unet_jax.training import workdir


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """Gives the flags of a run of 4 steps, exact to the bit."""
  root = write_images(tmp_path_factory.mktemp('longer') / 'data', 6)
  return (
    *('main', '--config', 'configs/binary.py:tiny'),
    *('--config.data.source=folder', f'--config.data.root={root}'),
    *('--config.image_size=32', '--config.model.depth=1'),
    *('--config.engine=xla', '--config.precision=float32'),
  )


def val_scores(folder):
  return [
    (row['step'], row['loss'], row['macro_f1'])
    for row in rows(folder)
    if row['split'] == 'val' and 'loss' in row
  ]


@pytest.mark.parametrize(
  ('settings', 'whole_settings'),
  [
    pytest.param(
      ('--config.optim.schedule=constant', '--config.optim.warmup=0'),
      (),
      marks=pytest.mark.slow,
    ),
    (('--config.optim.warmup=0.5',), ('--config.optim.schedule_steps=4',)),
  ],
)
def test_a_run_that_goes_on_equals_an_unbroken_one(
  small, tmp_path, settings, whole_settings
):
  args = (*small, *settings)
  longer, whole = tmp_path / 'longer', tmp_path / 'whole'
  call(*args, '--workdir', longer)
  before = json.loads((longer / 'config.json').read_text())
  done = call(*args, '--workdir', longer, '--config.total_steps=8')
  assert 'resumed from step 4' in done.stdout
  call(*args, *whole_settings, '--workdir', whole, '--config.total_steps=8')
  assert_same_weights(longer, whole)
  assert_same_weights(longer, whole, 'best')
  assert val_scores(longer)[:4] == val_scores(whole)[:4]
  config = json.loads((longer / 'config.json').read_text())
  assert config['total_steps'] == 8
  assert config['optim'].pop('schedule_steps') == 4
  assert before['optim'].pop('schedule_steps') == 0
  assert config == before | {'total_steps': 8}
  # The same command again, and then one with fewer steps or another key.
  again = (*args, '--workdir', longer, '--config.total_steps=8')
  assert 'is finished, at step 8; a larger' in call(*again).stdout
  done = call(*args, '--workdir', longer, check=False)
  assert done.returncode == 1
  assert 'another config: config.total_steps: 8 -> 4. Start' in done.stderr
  done = call(
    *(*args, '--workdir', longer, '--config.total_steps=12'),
    '--config.optim.lr=0.5',
    check=False,
  )
  assert done.returncode == 1
  assert 'another config: config.optim.lr: 0.002 -> 0.5. Start' in done.stderr


def test_the_marks_of_an_earlier_end_are_removed(load_config, tmp_path):
  config = load_config('binary:tiny', total_steps=20)
  workdir.begin(tmp_path, config, 'val', overwrite=False)
  assert not workdir.has_ended(tmp_path, 20)
  workdir.stop(tmp_path, 'stopped early')
  (tmp_path / 'evaluation').mkdir()
  for split in ('val', 'test'):
    (tmp_path / f'evaluation/{split}.json').touch()
  rows = [{'step': 20, 'split': 'val', 'loss': 0.5, 'macro_f1': 0.5}]
  rows.append({'step': 10, 'split': 'val', 'macro_f1': 0.6})
  for row, is_last in zip(rows, (False, True), strict=True):
    with (tmp_path / 'metrics.jsonl').open('a') as file:
      file.write(f'{json.dumps(row)}\n')
    assert workdir.is_finished(tmp_path, 20, 'val') == is_last
  assert not workdir.is_finished(tmp_path, 20, 'test')
  assert not workdir.is_finished(tmp_path, 21, 'val')
  longer = load_config('binary:tiny', total_steps=21)
  longer = workdir.adopt_schedule(tmp_path, longer)
  workdir.check(tmp_path, longer, overwrite=False)
  assert (tmp_path / 'stopped.txt').exists()  # Nothing is written by checks.
  workdir.begin(tmp_path, longer, 'val', overwrite=False)
  assert sorted(path.name for path in tmp_path.rglob('*.*')) == [
    *('config.json', 'metrics.jsonl', 'test.json')
  ]
  saved = config_lib.load(tmp_path / 'config.json')
  assert (saved.total_steps, saved.optim.schedule_steps) == (21, 20)


@pytest.mark.slow
def test_a_run_that_stopped_early_goes_on_and_counts_anew(small, tmp_path):
  args = (*small, '--workdir', tmp_path, '--config.early_stop=2')
  args += ('--config.optim.lr=1e-12', '--config.eval_every=1')
  assert 'stopped early: 2' in call(*args, '--config.total_steps=20').stdout
  first = max(map(int, os.listdir(tmp_path / 'checkpoints')))
  done = call(*args, '--config.total_steps=21')
  assert f'resumed from step {first}' in done.stdout
  assert 'stopped early: 2' in done.stdout
  assert max(map(int, os.listdir(tmp_path / 'checkpoints'))) == first + 2
  assert 'is finished' in call(*args, '--config.total_steps=21').stdout

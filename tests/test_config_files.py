"""Configs by the name of a preset, by a file, and by a run's config.json."""

import pathlib

import pytest
from commands import ROOT, call
from test_configs import VARIANTS

from unet_jax import config as config_lib
from unet_jax import config_files, defaults, errors, main

CODE = '''"""Mine.

Variants:
  none   nothing
  fast   ten times the rate
"""
from unet_jax import defaults

def get_config(arg=''):
  config = defaults.get_config()
  config.optim.lr *= 10 if arg == 'fast' else 1
  return config
'''


@pytest.mark.parametrize(
  'text', ['multiclass:catdog', 'configs/multiclass.py:catdog']
)
def test_a_preset_is_found_from_any_folder(tmp_path, monkeypatch, text):
  monkeypatch.chdir(tmp_path)
  config = config_files.load(text)
  assert config.data.classes == ('cat', 'dog')
  assert config.is_locked


def test_a_file_of_ones_own_is_taken_before_a_preset(tmp_path, monkeypatch):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'binary.py').write_text(CODE)
  monkeypatch.chdir(tmp_path)
  assert config_files.load('configs/binary.py').task == 'multiclass'
  assert config_files.load('configs/binary.py:fast').optim.lr == pytest.approx(
    10 * defaults.get_config().optim.lr
  )
  assert config_files.load('binary').task == 'binary'


def test_the_config_of_a_run_is_loaded_from_its_json(load_config, tmp_path):
  config = load_config('multiclass:camvid', **{'optim.lr': 0.5})
  config_lib.save(config, tmp_path / 'config.json')
  again = config_files.load(f'{tmp_path}/config.json')
  assert config_lib.differences(config, again) == []
  assert again.is_locked


@pytest.mark.parametrize(
  ('text', 'part'),
  [
    ('multiclas', 'did you mean multiclass?'),
    ('configs/binry.py', 'did you mean binary?'),
    ('nothing.py', 'no preset (binary, multiclass, multilabel, transfer, tuto'),
    (
      'binary:odd',
      "binary has no variant 'odd'; name none, or one of residual",
    ),
    ('config.json:tiny', 'leave out :tiny'),
    ('.', 'give config.json'),
  ],
)
def test_a_config_that_does_not_exist_is_reported_with_those_that_do(
  tmp_path, monkeypatch, text, part
):
  monkeypatch.chdir(tmp_path)
  config_lib.save(defaults.get_config(), tmp_path / 'config.json')
  with pytest.raises(errors.InputError) as caught:
    config_files.load(text)
  assert part in str(caught.value)


def test_the_top_of_each_preset_lists_its_variants():
  assert config_files.presets() == sorted({name for name, _ in VARIANTS})
  for name in config_files.presets():
    listed = config_files.variants(ROOT / 'configs' / f'{name}.py')
    built = [variant or 'none' for x, variant in VARIANTS if x == name]
    assert sorted(listed) == sorted(built)
    assert all(listed.values())


@pytest.mark.parametrize(
  ('config', 'workdir'),
  [
    ('configs/multiclass.py:catdog', 'runs/multiclass-catdog'),
    ('multiclass:catdog', 'runs/multiclass-catdog'),
    ('binary', 'runs/binary'),
    ('elsewhere/first/config.json', 'runs/first'),
  ],
)
def test_a_run_is_named_after_its_config(config, workdir):
  assert main.default_workdir(config) == pathlib.Path(workdir)


def test_main_takes_the_name_of_a_preset(tmp_path):
  done = call(
    'main',
    '--config',
    'binary:tiny',
    '--config.optim.lr=-1',
    check=False,
    cwd=tmp_path,
  )
  assert done.stderr.startswith('error: config.optim.lr is -1.0')

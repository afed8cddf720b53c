"""Every config file and variant: its keys, and the state that it builds."""

import jax
import jax.numpy as jnp
import pytest

from unet_jax import config as config_lib
from unet_jax.data import sources
from unet_jax.training import setup

VARIANTS = [
  ('binary', ''),
  ('binary', 'folder'),
  ('binary', 'stare'),
  ('binary', 'tutorial'),
  ('binary', 'tiny'),
  ('multiclass', ''),
  ('multiclass', 'folder'),
  ('multiclass', 'diaretdb1'),
  ('multiclass', 'tutorial'),
  ('multiclass', 'catdog'),
  ('multiclass', 'tiny'),
]


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_every_config_builds_its_state(load_config, name, variant):
  config = load_config(f'{name}:{variant}' if variant else name)
  config_lib.check(config)
  dataset = sources.Dataset(
    {'train': [], 'val': []},
    tuple(config.data.classes) or ('a', 'b'),
    '',
    (0.0,) * 3,
    (1.0,) * 3,
    {},
    (),
  )
  run = setup.make_run(config, dataset)
  state = jax.eval_shape(run.init)
  head = state.params['head']['bias']
  planes = len(dataset.classes) + (config.task == 'multiclass')
  assert head.shape == (planes,)
  assert state.step.dtype == jnp.int32


def test_all_configs_have_the_same_keys(load_config):
  def keys(name):
    flat = config_lib.flatten(load_config(name))
    return {key for key in flat if not key.startswith('data.merge')}

  assert keys('binary') == keys('multiclass')


def test_every_key_is_read_somewhere(load_config):
  """A knob that nothing reads would be a promise that nothing keeps."""
  import pathlib

  source = ''.join(
    path.read_text() for path in pathlib.Path('unet_jax').rglob('*.py')
  )
  by_group = ('augment', 'loss')  # Handed on whole, as keyword arguments.
  for key in config_lib.flatten(load_config('multiclass')):
    group, _, name = key.rpartition('.')
    if group in by_group:
      assert f'**config.{group}' in source
    elif not key.startswith('data.merge'):
      assert f'config.{key}' in source, key


@pytest.mark.parametrize('name', ['binary', 'multiclass'])
def test_a_config_survives_its_file(load_config, tmp_path, name):
  config = load_config(name)
  config_lib.save(config, tmp_path / 'config.json')
  again = config_lib.load(tmp_path / 'config.json')
  assert config_lib.differences(config, again) == []
  again.optim.lr = 1.0
  assert config_lib.differences(config, again) == [
    'config.optim.lr: 0.002 -> 1.0'
  ]

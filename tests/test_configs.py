"""Every config file and variant: its keys, and the state that it builds."""

import json

import jax
import jax.numpy as jnp
import pytest

from unet_jax import config as config_lib
from unet_jax.data import sources
from unet_jax.training import setup

VARIANTS = [
  ('binary', ''),
  ('binary', 'residual'),
  ('binary', 'folder'),
  ('binary', 'stare'),
  ('binary', 'tiny'),
  ('multiclass', ''),
  ('multiclass', 'folder'),
  ('multiclass', 'diaretdb1'),
  ('multiclass', 'catdog'),
  ('multiclass', 'camvid'),
  ('multiclass', 'tiny'),
  ('multilabel', ''),
  ('multilabel', 'folder'),
  ('multilabel', 'diaretdb1'),
  ('multilabel', 'soft'),
  ('multilabel', 'tiny'),
  ('transfer', ''),
  ('transfer', 'vessels'),
  ('transfer', 'diaretdb1'),
  ('transfer', 'stare'),
  ('transfer', 'tiny'),
  ('tutorial', ''),
  ('tutorial', 'vessels'),
  ('tutorial', 'lesions'),
]


def make_run(config, channels=3):
  classes = tuple(config.data.classes) or ('a', 'b')
  has_background = config.task == 'multiclass' and config.data.background
  num_planes = len(classes) + bool(has_background)
  stats = sources.Stats(
    classes,
    mean=(0.0,) * channels,
    std=(1.0,) * channels,
    pixels=((1, 2, 2),) * num_planes,
  )
  return setup.make_run(config, stats)


@pytest.mark.parametrize(('name', 'variant'), VARIANTS)
def test_every_config_builds_its_state(load_config, name, variant):
  config = load_config(f'{name}:{variant}' if variant else name)
  config_lib.check(config)
  run = make_run(config)
  state = jax.eval_shape(run.init)
  head = state.params['head']['bias']
  classes = run.predictor.classes
  assert head.shape == (len(classes.planes),)
  planes = classes.num_foreground + (
    config.task == 'multiclass' and config.data.background != ''
  )
  assert len(classes.planes) == planes
  assert state.step.dtype == jnp.int32


@pytest.mark.parametrize(
  ('variant', 'count'),
  [('', 31_046_465), ('vessels', 31_047_557), ('lesions', 3_111_139)],
)
def test_tutorials_networks_have_as_many_parameters_as_in_keras(
  load_config, variant, count
):
  run = make_run(load_config(f'tutorial:{variant}'), channels=1)
  averaged = jax.eval_shape(run.init).averaged
  # What Keras lists: weights, and batch norm's means and variances.
  assert set(averaged) == {'params', 'batch_stats'}
  assert sum(x.size for x in jax.tree.leaves(averaged)) == count


def test_all_configs_have_the_same_keys(load_config):
  def keys(name):
    flat = config_lib.flatten(load_config(name))
    return {key for key in flat if not key.startswith('data.merge')}

  expected = keys('binary')
  for name in ('multiclass', 'multilabel', 'transfer', 'tutorial'):
    assert keys(name) == expected


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


@pytest.mark.parametrize('name', ['binary', 'multiclass:camvid', 'tutorial'])
def test_a_config_survives_its_file(load_config, tmp_path, name):
  config = load_config(name)
  config_lib.save(config, tmp_path / 'config.json')
  again = config_lib.load(tmp_path / 'config.json')
  assert config_lib.differences(config, again) == []
  again.optim.lr = 1.0
  assert config_lib.differences(config, again) == [
    f'config.optim.lr: {config.optim.lr} -> 1.0'
  ]


def test_a_run_older_than_a_key_has_its_default(load_config, tmp_path):
  tree = json.loads(load_config('multiclass').to_json())
  del tree['data']['weights'], tree['early_stop']
  again = config_lib.from_dict(tree)
  assert config_lib.differences(load_config('multiclass'), again) == []

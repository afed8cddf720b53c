"""Every config file and variant: its keys, and the state that it builds."""

import json
import pathlib

import jax
import jax.numpy as jnp
import pytest

from unet_jax import config as config_lib
from unet_jax import defaults, errors, knob, lookup
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
  # Keras counts weights, and batch norm's means and variances.
  assert set(averaged) == {'params', 'batch_stats'}
  assert sum(x.size for x in jax.tree.leaves(averaged)) == count


def test_all_configs_have_the_same_keys(load_config):
  for name in ('binary', 'multiclass', 'multilabel', 'transfer', 'tutorial'):
    assert set(config_lib.flatten(load_config(name))) == set(defaults.KEYS)


def test_every_key_is_read_somewhere():
  """A key that nothing reads would have no effect."""
  source = ''.join(
    path.read_text() for path in pathlib.Path('unet_jax').rglob('*.py')
  )
  by_group = ('augment', 'loss')  # Passed on whole, as keyword arguments.
  for key in defaults.KEYS:
    group, _, name = key.rpartition('.')
    if group in by_group:
      assert f'**config.{group}' in source
    else:
      assert f'config.{key}' in source, key


def test_what_most_runs_set_is_a_short_list_with_all_that_configs_change(
  load_config,
):
  usual = config_lib.flatten(defaults.get_config())
  changed = {
    key
    for name, variant in VARIANTS
    for key, value in config_lib.flatten(
      load_config(f'{name}:{variant}')
    ).items()
    if value != usual[key] and variant != 'tiny' and name != 'tutorial'
  }
  # Probabilities as labels are one variant's, and rare.
  assert changed - {'data.masks.soft'} <= set(defaults.MAIN)
  assert len(defaults.MAIN) <= 25


def test_the_page_of_all_keys_is_that_of_the_defaults():
  page = pathlib.Path('docs/config.md').read_text()
  assert page == lookup.reference() + '\n', (
    'run python -m unet_jax.lookup > docs/config.md'
  )
  rows = [line for line in page.splitlines() if line.startswith('| `')]
  assert len(rows) == len(defaults.KEYS)
  for key, row in zip(defaults.KEYS, rows, strict=True):
    assert row.startswith(f'| `{key}` | ')
    assert row.count('|') == 5  # No column is torn.


def test_a_window_that_does_not_pool_like_the_image_is_refused(load_config):
  config = load_config('multiclass:tiny', window=60)
  with pytest.raises(errors.InputError, match='a multiple of 8: set it to 64'):
    config_lib.check(config)
  config_lib.check(load_config('multiclass:tiny', window=64))


def test_a_window_of_0_leaves_that_of_a_run(load_config):
  chosen = load_config('multiclass', window=256)
  assert config_lib.differences(chosen, load_config('multiclass')) == []
  other = load_config('multiclass', window=512)
  assert config_lib.differences(chosen, other) == ['config.window: 256 -> 512']


def test_every_usual_value_is_allowed():
  config_lib.check(defaults.get_config())


@pytest.mark.parametrize(
  ('key', 'value', 'text'),
  [
    ('task', 'ternary', 'must be one of multiclass, binary, multilabel'),
    ('total_steps', 0, 'must be a whole number from 1 to 2147483647'),
    ('optim.lr', 0.0, 'must be a number, positive and finite'),
    ('optim.clip', -1.0, 'must be a number, 0 or more and finite'),
    ('transfer.lr_decay', 2.0, 'must be a number above 0, to 1'),
    ('data.classes', 'vessels', 'must be a tuple'),
    ('data.masks.merge', {'a': 'b'}, 'of class names, each with a tuple'),
  ],
)
def test_a_value_that_is_not_allowed_is_reported_with_what_it_must_be(
  key, value, text
):
  config = config_lib.flatten(defaults.get_config()) | {key: value}
  with pytest.raises(errors.InputError) as caught:
    config_lib.check(knob.unflatten(config))
  assert str(caught.value).startswith(f'config.{key} is {value!r}; it ')
  assert text in str(caught.value)


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


# Runs and config files of earlier versions.


def old_tree(load_config, **values):
  """Returns the JSON of a run, with values for keys of an earlier version."""
  flat = config_lib.flatten(load_config('multiclass')) | values
  return json.loads(knob.unflatten(flat).to_json())


def test_old_names_and_new_ones_are_different_keys():
  assert set(config_lib.RENAMED.values()) <= set(defaults.KEYS)
  gone = {*config_lib.RENAMED, *config_lib.REMOVED}
  assert not gone & set(defaults.KEYS)


def test_a_saved_value_that_no_run_can_have_is_refused(load_config):
  tree = old_tree(load_config, **{'model.depth': 10**6})
  with pytest.raises(errors.InputError, match='config.model.depth is 1000000'):
    config_lib.from_dict(tree)


def test_an_old_run_with_no_val_share_held_back_a_fifth(load_config):
  tree = old_tree(load_config, **{'data.split.val_share': 0.0})
  assert config_lib.from_dict(tree).data.split.val_share == 0
  del tree['optim']['schedule_steps']  # So the run is older than -1.
  assert config_lib.from_dict(tree).data.split.val_share == -1
  tree['data']['split']['val_share'] = 0.25
  assert config_lib.from_dict(tree).data.split.val_share == 0.25


def test_a_key_that_an_old_run_saved_comes_back_by_its_new_name(load_config):
  tree = old_tree(load_config, **{'loss.beta': 0.9, 'loss.radius': 3})
  del tree['loss']['tversky_beta'], tree['loss']['cldice_radius']
  again = config_lib.from_dict(tree)
  config_lib.check(again)
  assert config_lib.differences(load_config('multiclass'), again) == [
    'config.loss.cldice_radius: 5 -> 3',
    'config.loss.tversky_beta: 0.7 -> 0.9',
  ]


def test_a_run_that_was_saved_with_old_names_alone_is_the_same_run(load_config):
  values = {
    'data.masks.kind': 'folders',
    'data.masks.merge': {'x': ('a', 'b')},
    'data.masks.void': ('c', 'd'),
    'data.masks.threshold': 26,
    'data.masks.missing': 'absent',
    'data.split.train': 'a-k',
    'data.split.val_share': 0.2,
    'data.split.group': '(im)',
  }
  flat = config_lib.flatten(load_config('multiclass')) | values
  config = knob.unflatten(flat)
  old_names = {new: old for old, new in config_lib.RENAMED.items()}
  old = knob.unflatten({old_names.get(k, k): v for k, v in flat.items()})
  assert not {'masks', 'split'} & set(old.data)
  again = config_lib.from_dict(json.loads(old.to_json()))
  config_lib.check(again)
  assert config_lib.differences(config, again) == []


def test_a_removed_key_is_refused_where_it_changed_something(load_config):
  tree = old_tree(load_config, **{'transfer.resize': 'never'})
  assert (
    config_lib.differences(
      load_config('multiclass'), config_lib.from_dict(tree)
    )
    == []
  )
  tree['transfer']['resize'] = 'corner'
  with pytest.raises(errors.InputError, match=r'config\.transfer\.resize'):
    config_lib.from_dict(tree)


@pytest.mark.parametrize(
  ('key', 'text'),
  [
    ('loss.gamma', 'config.loss.gamma is now called config.loss.focal_gamma;'),
    ('data.mask', 'config.data.mask is now called config.data.masks.kind;'),
    ('data.void', 'config.data.void is now called config.data.masks.void;'),
    ('data.fold', 'config.data.fold is now called config.data.split.fold;'),
    ('transfer.resize', 'config.transfer.resize no longer exists; remove it'),
    ('loss.hinge', 'config.loss.hinge is unknown; remove it'),
  ],
)
def test_a_config_file_that_sets_an_old_key_is_reported_with_the_remedy(
  key, text
):
  config = defaults.get_config()
  config.update_from_flattened_dict({key: 1.0})
  with pytest.raises(errors.InputError, match=text):
    config_lib.check(config)

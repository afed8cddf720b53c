"""Tuples and maps on the command line, as people type them."""

import pytest

from unet_jax import command_line, errors, overrides


def config_of(*args):
  """Returns the config with which a command of these arguments would run."""
  configs = []
  command = command_line.Command(
    define=lambda args: None,
    run=lambda args: configs.append(args.config),
    configs=command_line.CONFIG,
  )
  assert command_line.call(command, ('--config', 'transfer', *args)) == 0
  return configs[0]


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('cat,dog', ('cat', 'dog')),
    ('cat, dog', ('cat', 'dog')),
    ('cat', ('cat',)),
    ('cat,', ('cat',)),
    ('(cat,dog)', ('cat', 'dog')),
    ("('cat', 'dog')", ('cat', 'dog')),
    ("['cat', 'dog']", ('cat', 'dog')),
    ('red lesions,cat-1', ('red lesions', 'cat-1')),
    ('255', (255,)),
    ('255,fov', (255, 'fov')),
    ('0.9,1.1', (0.9, 1.1)),
    ('#ff0000,#00ff00', ('#ff0000', '#00ff00')),
    ('', ()),
    ('()', ()),
  ],
)
def test_a_tuple_needs_no_quotes(text, value):
  assert overrides.to_tuple(text) == value


def test_a_tuple_is_set_with_and_without_an_equals_sign():
  for args in (
    ['--config.data.classes=cat,dog'],
    ['--config.data.classes', 'cat,dog'],
    ['-config.data.classes=cat,dog'],
    ['--config.data.classes=cat', '--config.data.classes=dog'],
    ["--config.data.classes=('cat', 'dog')"],
  ):
    assert config_of(*args).data.classes == ('cat', 'dog')


def test_entries_of_a_map_are_added_to_those_of_the_preset():
  config = config_of(
    '--config.transfer.classes.red_lesions=vessels',
    '--config.transfer.classes.cat-1=vessels',
    '--config.data.masks.merge.bright_lesions=hardexudates',
  )
  assert config.transfer.classes.to_dict() == {
    'red_lesions': 'vessels',
    'cat-1': 'vessels',
  }
  assert config.data.masks.merge.to_dict() == {
    'red_lesions': ('hemorrhages', 'redsmalldots'),
    'bright_lesions': ('hardexudates',),
  }


def test_a_map_can_be_set_as_a_whole():
  config = config_of("--config.data.masks.merge={'a': ('b', 3)}")
  assert config.data.masks.merge.to_dict() == {'a': ('b', 3)}


def test_other_settings_and_arguments_pass_unchanged():
  argv = ['--config', 'x', '--config.optim.lr', '3', '--workdir=--config.a']
  argv += ['--noconfig.augment.vertical_flip', '--configs.a=1', 'rest']
  assert overrides.expand(argv, 'config') == (argv, [])
  assert not config_of('--noconfig.augment.vertical_flip').augment.vertical_flip


@pytest.mark.parametrize(
  ('key', 'hint'),
  [
    ('learning_rate', 'did you mean optim.lr?'),
    ('optim.learning_rate', 'did you mean optim.lr?'),
    ('lr', 'did you mean optim.lr?'),
    ('optim.lrr', 'did you mean optim.lr?'),
    ('totl_steps', 'did you mean total_steps?'),
    ('epochs', 'did you mean total_steps?'),
    ('crop-size', 'did you mean image_size?'),
    ('modell.depth', 'did you mean model.depth?'),
    ('qqq', '`unet-jax keys` lists all keys'),
    ('data.merge.a', 'is now called --config.data.masks.merge; rename it'),
  ],
)
def test_an_unknown_key_is_reported_with_the_nearest(key, hint):
  with pytest.raises(errors.InputError) as caught:
    overrides.expand([f'--config.{key}=1'], 'config')
  assert key in str(caught.value) or 'data.merge' in str(caught.value)
  assert str(caught.value).endswith(hint)

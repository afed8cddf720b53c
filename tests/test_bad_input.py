"""A user's mistake stops a run before step 1, with one line that helps."""

import numpy as np
import pytest
from commands import call
from commands import run as run_process
from PIL import Image
from settings import set_data

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data import sources
from unet_jax.training import loop, resume


@pytest.fixture
def refused(load_config, tmp_path):
  """Returns (root, **overrides) -> the text with which training refuses."""

  def run(root='', name='binary:tiny', workdir=None, **overrides):
    config = load_config(name)
    with config.unlocked():
      set_data(config, source='folder', root=str(root), mask='binary', merge={})
      config.update_from_flattened_dict(overrides)
    workdir = workdir or tmp_path / 'run'
    with pytest.raises(errors.InputError) as caught:
      loop.train_and_evaluate(config, workdir)
    assert not (workdir / 'checkpoints').exists()
    text = str(caught.value)
    assert '\n' not in text
    return text

  return run


def assert_says(text, *parts):
  for part in parts:
    assert part in text


# The data.


@pytest.mark.parametrize('root', ['', '/no/such/folder'])
def test_missing_root(refused, root):
  assert_says(refused(root), 'config.data.root', root)


def test_missing_split_file(refused, write_folder):
  root = write_folder(val='ab')
  assert_says(refused(root), str(root), 'val.txt', 'no train.txt', 'add it')


def test_name_in_a_split_without_a_file(refused, write_folder):
  root = write_folder(train=['a', 'zebra'])
  text = refused(root)
  assert_says(text, f'{root}/train.txt', 'zebra', 'correct the list')


def test_image_without_mask(refused, write_folder):
  root = write_folder()
  (root / 'masks' / 'b.png').unlink()
  text = refused(root)
  assert_says(text, f'{root}/images/b.png', 'without a mask', 'name each')


def test_mask_without_image(refused, write_folder):
  root = write_folder()
  (root / 'images' / 'b.png').unlink()
  assert_says(refused(root), f'{root}/masks/b.png', 'an image', 'remove it')


def test_mask_and_image_of_different_size(refused, write_folder):
  root = write_folder()
  Image.new('L', (10, 20)).save(root / 'masks' / 'c.png')
  text = refused(root)
  assert_says(text, f'{root}/masks/c.png', '10x20', '48x40', 'at one size')


def test_mask_value_that_is_not_declared(refused, write_folder):
  root = write_folder(mask='index')
  mask = np.zeros((40, 48), np.uint8)
  mask[:5, :5] = 9
  Image.fromarray(mask).save(root / 'masks' / 'a.png')
  name, overrides = 'multiclass:tiny', {'data.masks.kind': 'index'}
  text = refused(root, name, **overrides)
  assert_says(text, f'{root}/masks/a.png', 'value 9 in 25 pixels', '0 to 2')
  assert_says(text, 'config.data.classes')


def test_binary_mask_of_0_and_1(refused, write_folder):
  root = write_folder()
  mask = np.eye(40, 48, dtype=np.uint8)
  Image.fromarray(mask).save(root / 'masks' / 'd.png')
  text = refused(root)
  assert_says(text, f'{root}/masks/d.png', '--config.data.masks.kind=index')


@pytest.mark.parametrize('folder', ['images', 'masks'])
def test_truncated_image(refused, write_folder, folder):
  root = write_folder(train='ab', val='d')  # Found in any split.
  path = root / folder / 'd.png'
  path.write_bytes(path.read_bytes()[:-40])
  assert_says(refused(root), str(path), 'truncated', 'restore or remove it')


def test_16_bit_image_of_few_levels_of_which_8_are_kept(refused, write_folder):
  root = write_folder()
  deep = np.full((40, 48), 4095, np.uint16)
  Image.fromarray(deep).save(root / 'images' / 'b.png')
  text = refused(root, **{'data.bits': '8'})
  assert_says(text, f'{root}/images/b.png', '16-bit', '0 to 65535')
  (root / 'images' / 'c.png').unlink()
  Image.fromarray(deep.astype(np.int32)).save(root / 'images' / 'c.tif')
  assert_says(refused(root), f'{root}/images/c.tif', 'int32', 'float32')


def test_images_of_a_run_that_have_changed():
  dataset = sources.Dataset(
    splits={},
    stats=sources.Stats(('a',), mean=(1.0,), std=(2.0,)),
    root='/data',
    digests={'train': 'abc'},
  )
  meta = dict(classes=['a'], mean=[1.0], std=[2.0], splits={'train': 'abc'})
  resume.check_data(meta, dataset)
  resume.check_data({}, dataset)
  for key, value in (('splits', {'train': 'abd'}), ('mean', [1.5])):
    message = f'/data: the {key} of the images are not those this run began'
    with pytest.raises(errors.InputError, match=message):
      resume.check_data(meta | {key: value}, dataset)


# The devices, the values and the workdir.


@pytest.mark.parametrize('batch_size', [1, 6])
def test_batch_size_that_the_devices_do_not_divide(refused, batch_size):
  text = refused('/untouched', batch_size=batch_size)
  assert_says(text, f'config.batch_size is {batch_size}', '4 devices')
  assert_says(text, 'must be a multiple')


OUT_OF_RANGE = [
  ('seed', -1),
  ('batch_size', 0),
  ('batch_size', -4),
  ('image_size', 0),
  ('total_steps', 0),
  ('total_steps', -1),
  ('total_steps', 2**31),
  ('eval_every', 0),
  ('save_every', 0),
  ('data.masks.threshold', 256),
  ('data.masks.soft', 256),
  ('data.split.folds', -1),
  ('data.split.fold', 100),
  ('data.masks.missing', 'maybe'),
  ('data.resize', -1),
  ('data.split.val_share', 1.0),
  ('data.split.val_share', -0.1),
  ('data.channels', 'blue'),
  ('data.foreground_share', 1.5),
  ('augment.rotation_range', -5.0),
  ('augment.zoom_range', (0.9,)),
  ('augment.zoom_range', (1.1, 0.9)),
  ('augment.zoom_range', (0.0, 1.0)),
  ('augment.zoom_range', ('a', 'b')),
  ('augment.width_shift_range', float('nan')),
  ('augment.elastic', 16.0),
  ('augment.brightness', 2.0),
  ('augment.contrast', float('inf')),
  ('model.depth', 0),
  ('model.width', 0),
  ('loss.smooth', -1.0),
  ('loss.smooth', float('inf')),
  ('optim.lr', 0.0),
  ('optim.lr', -1e-3),
  ('optim.lr', float('nan')),
  ('optim.lr', float('inf')),
  ('optim.warmup', 1.5),
  ('optim.ema', 1.0),
  ('optim.ema', -0.5),
  ('task', 'ternary'),
  ('precision', 'float16'),
  ('data.source', 'internet'),
  ('data.masks.kind', 'coloured'),
  ('model.norm', 'layer'),
  ('model.name', 'vnet'),
  ('model.dilated', -1),
  ('model.dropout', 1.0),
  ('loss.class_weights', 'balanced'),
  ('loss.dice', -1.0),
  ('loss.focal', float('inf')),
  ('loss.tversky_beta', 1.5),
  ('loss.tversky_gamma', 0.5),
  ('loss.cldice_radius', 0),
  ('transfer.lr_decay', 0.0),
]


@pytest.mark.parametrize(('key', 'value'), OUT_OF_RANGE)
def test_value_out_of_range_is_named(load_config, key, value):
  config = load_config('binary:tiny', **{key: value})
  with pytest.raises(errors.InputError, match='it must be ') as caught:
    config_lib.check(config)
  assert_says(str(caught.value), f'config.{key} is {value!r}')


def test_value_out_of_range_is_named_before_the_data(refused):
  assert_says(refused('/untouched', seed=-1), 'config.seed is -1')


@pytest.mark.parametrize(
  'setting', [{'model.norm': 'none'}, {'model.remat': 1}]
)
def test_what_the_tutorials_networks_lack_is_refused(refused, setting):
  text = refused('/untouched', **{'model.name': 'tutorial'} | setting)
  assert_says(text, 'config.model.name=tutorial', 'config.model.remat=0')


def test_a_loss_of_no_term_is_refused(refused):
  text = refused('/untouched', **{'loss.dice': 0.0, 'loss.ce': 0.0})
  assert_says(text, 'every term of config.loss', '--config.loss.dice=1.0')


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('total_steps', 3.5),
    ('optim.lr', '1e-3'),
    ('batch_size', True),
    ('data.classes', 'vessels'),
  ],
)
def test_value_of_another_type_is_named(load_config, key, value):
  config = load_config('binary')
  with config.unlocked(), config.ignore_type():
    config.update_from_flattened_dict({key: value})
  with pytest.raises(errors.InputError, match='it must be a ') as caught:
    config_lib.check(config)
  assert_says(str(caught.value), f'config.{key} is {value!r}')


@pytest.mark.parametrize('key', ['total_steps', 'optim.lr', 'task'])
def test_key_that_the_config_file_lacks_is_named(load_config, key):
  config = load_config('binary')
  group, _, name = key.rpartition('.')
  with config.unlocked():
    del (config[group] if group else config)[name]
  with pytest.raises(errors.InputError, match=f'config.{key} is missing'):
    config_lib.check(config)


@pytest.mark.parametrize(
  'name', ['binary', 'binary:stare', 'multiclass', 'multiclass:catdog']
)
def test_configs_of_the_project_are_in_range(load_config, name):
  config = load_config(name)
  config_lib.check(config)
  assert not config_lib.differences(config, config)


@pytest.mark.parametrize(
  ('overrides', 'parts'),
  [
    ({'data.background': ''}, ['config.data.background is empty']),
    (
      {'data.masks.soft': 252},
      ['config.data.masks.soft is 252', 'folders or planes'],
    ),
    (
      {'data.masks.missing': 'absent', 'data.masks.kind': 'index'},
      ['config.data.masks.missing', 'config.data.masks.kind=binary'],
    ),
    ({'data.split.folds': 1}, ['config.data.split.folds to 2 or more']),
    (
      {'data.split.folds': 3, 'data.split.fold': 3},
      ['config.data.split.fold is 3 of 3'],
    ),
    ({'data.split.folds': 3, 'data.split.val_share': 0.1}, ['both draw val']),
    (
      {'data.split.group': 'im'},
      ["config.data.split.group 'im' has no group for the patient"],
    ),
    (
      {'data.split.group': '(im'},
      ["config.data.split.group '(im'", 'unterminated'],
    ),
  ],
)
def test_settings_that_do_not_go_together(refused, overrides, parts):
  assert_says(refused('/untouched', **overrides), *parts)


def test_early_stopping_without_validation_images(refused, write_folder):
  root = write_folder(train='abcd')
  overrides = {'early_stop': 3, 'data.split.val_share': 0.0}
  assert_says(refused(root, **overrides), 'config.early_stop', 'val_share=0.2')


def test_several_classes_under_the_binary_task(refused):
  text = refused('/untouched', **{'data.classes': ('a', 'b')})
  assert_says(text, 'config.data.classes has 2', 'config.task=multiclass')


@pytest.mark.parametrize('below', ['', 'deeper/run'])
def test_workdir_that_cannot_be_written(refused, write_folder, tmp_path, below):
  file = tmp_path / 'file'
  file.write_text('mine')
  text = refused(write_folder(), workdir=file / below)
  assert_says(text, f'--workdir {file / below}', 'name another')
  assert file.read_text() == 'mine'


# The command line.


def fail_main(tmp_path, *args):
  """Calls main with a workdir, and returns the line of its error."""
  workdir = tmp_path / 'run'
  done = call('main', f'--workdir={workdir}', *args, check=False)
  assert done.returncode == 1
  assert not done.stdout
  assert not workdir.exists()
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ')
  return line


@pytest.mark.parametrize(
  ('args', 'parts'),
  [
    (['--config.totl_steps=9'], ['totl_steps', 'mean total_steps?']),
    (['--config.optim.lrr=1'], ['optim.lrr', 'mean optim.lr?']),
    (['--config.modell.depth=3'], ['modell.depth', 'mean model.depth?']),
    (['--config.qqq=3'], ['no key', 'qqq', 'unet-jax keys']),
    (
      ['--config.loss.beta=.5'],
      ['loss.beta is now called --config.loss.tversky_beta;'],
    ),
    (
      ['--config.data.val_share=0.2'],
      ['data.val_share is now called --config.data.split.val_share;'],
    ),
    (
      ['--config.data.mask=index'],
      ['--config.data.mask is now called --config.data.masks.kind;'],
    ),
    (
      ["--config.data.merge.a=('b',)"],
      ['--config.data.merge is now called --config.data.masks.merge;'],
    ),
    (
      ['--config.transfer.resize=corner'],
      ['--config.transfer.resize no longer'],
    ),
    (['--lr=1'], ["'lr'", 'mean --config.optim.lr?', '--help']),
    (['--config.total_steps=many'], ['--config.total_steps=many']),
    (['--config.optim.lr=0'], ['config.optim.lr is 0.0', 'positive']),
    (['--workdri=x'], ["'workdri'", 'workdir']),
    (['--folds=-1'], ['--folds=-1', 'non-negative']),
    (['--num_processes=0'], ['--num_processes=0', 'positive']),
    (['--process_id=-1'], ['--process_id=-1', 'non-negative']),
    (['surplus'], ["'surplus'", '--help']),
  ],
)
def test_command_line_that_is_wrong_fails_in_one_line(tmp_path, args, parts):
  assert_says(fail_main(tmp_path, '--config=configs/binary.py', *args), *parts)


@pytest.mark.process
def test_a_process_fails_in_one_line_too(tmp_path):
  done = run_process('-m', 'unet_jax.main', '--workdri=x')
  assert done.returncode == 1
  assert not done.stdout
  (line,) = done.stderr.splitlines()
  assert_says(line, 'error: ', "'workdri'", 'workdir')


@pytest.mark.parametrize(
  ('args', 'part'),
  [
    ([], '--config multiclass; the presets are binary, '),
    (['--config=configs/no_such.py'], "'configs/no_such.py'"),
    (['--config=configs/no_such.py', '--config.seed=1'], 'no_such.py'),
    (
      ['--config=configs/binary.py:odd'],
      "variant 'odd'; name none, or one of residual",
    ),
  ],
)
def test_config_that_is_missing_fails_in_one_line(tmp_path, args, part):
  assert_says(fail_main(tmp_path, *args), part)


@pytest.mark.parametrize(
  ('content', 'parts'),
  [
    ('def get_config(arg=\n', ['given.py, line 1']),
    (
      'def get_config(arg=""):\n  return {}["nothing"]\n',
      ["KeyError 'nothing'", 'given.py, line 2'],
    ),
    (
      'def get_config(arg=""):\n  raise ValueError\n',
      ['ValueError', 'given.py, line 2'],
    ),
    ('import no_such_package\n', ['no_such_package', 'given.py, line 1']),
    ('get_config = dict\n', ['get_config returned dict']),
    ('import sys\nsys.exit("set it first")\n', ['set it first']),
    ('', ['given.py has no function get_config']),
    (
      'from unet_jax import defaults\n'
      'config = defaults.get_config()\n'
      'config.data.merge["a"] = ("b",)\n',
      ['config.data.merge is now called --config.data.masks.merge;'],
    ),
    (
      'from unet_jax import defaults\n'
      'config = defaults.get_config()\n'
      'config.data.threshold //= 2\n',
      ['config.data.threshold is now called --config.data.masks.threshold;'],
    ),
  ],
)
def test_broken_config_file_fails_in_one_line(tmp_path, content, parts):
  given = tmp_path / 'given.py'
  given.write_text(content)
  assert_says(fail_main(tmp_path, f'--config={given}'), *parts)

"""Lists and ranges of names."""

import unicodedata

import pytest
from settings import set_data

from unet_jax import errors
from unet_jax.data import spec, splits


def test_lists_keep_their_order_and_skip_blank_lines(tmp_path):
  (tmp_path / 'train.txt').write_text('b\r\n\r\n  a \nc')
  (tmp_path / 'test.txt').write_text('\ufeffd\n', 'utf-8')
  lists = splits.read_lists(tmp_path)
  assert lists == {'train': ['b', 'a', 'c'], 'test': ['d']}


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-16-be'])
def test_lists_of_windows_are_read(tmp_path, encoding):
  mark = '' if encoding == 'utf-16' else '\ufeff'
  content = f'{mark}größe\r\nb\r\n'.encode(encoding)
  (tmp_path / 'train.txt').write_bytes(content)
  assert splits.read_lists(tmp_path) == {'train': ['größe', 'b']}


@pytest.mark.parametrize(
  'content',
  [
    'größe'.encode('cp1252'),
    'ab'.encode('utf-16-le'),
    b'a\x1b[31m',
    b'\x89PNG',
  ],
)
def test_list_that_is_no_text_is_named(tmp_path, content):
  (tmp_path / 'val.txt').write_bytes(content)
  with pytest.raises(errors.InputError, match=r'val\.txt is not text in UTF-8'):
    splits.read_lists(tmp_path)


def test_list_that_is_a_folder_is_named(tmp_path):
  (tmp_path / 'train.txt').mkdir()
  with pytest.raises(errors.InputError, match=r'train\.txt cannot be read'):
    splits.read_lists(tmp_path)


def test_no_list_at_all_is_not_an_error(tmp_path):
  assert splits.read_lists(tmp_path) == {}


def ranges(load_config, names, **splits_of):
  config = load_config('binary:folder')
  set_data(config, **splits_of)
  return splits.from_ranges(spec.read(config).split, names)


IMAGES = [f'image{i:03d}' for i in range(1, 90)]


def test_ranges_include_both_ends_as_in_the_tutorial(load_config):
  lists = ranges(
    load_config,
    IMAGES[::-1],
    train='image001-image027',
    test='image028 - image088, image089',
  )
  assert lists == {'train': IMAGES[:27], 'test': IMAGES[27:]}
  assert ranges(load_config, IMAGES) == {}


def test_names_may_have_dashes_themselves(load_config):
  names = ['eye-1-left', 'eye-1-right', 'eye-2-left']
  lists = ranges(
    load_config, names, train='eye-1-left-eye-1-right', val='eye-2-left'
  )
  assert lists == {'train': names[:2], 'val': names[2:]}


def test_ranges_are_found_in_every_form_of_unicode(load_config):
  names = [unicodedata.normalize('NFD', name) for name in ('ä1', 'ä2', 'ä3')]
  assert ranges(load_config, names, train='ä1-ä2') == {'train': names[:2]}


@pytest.mark.parametrize(
  ('splits_of', 'message'),
  [
    (
      dict(train='image001-image100'),
      "data.split.train: 'image001-image100' is nei",
    ),
    (dict(train='image009-image002'), 'data.split.train'),
    (
      dict(train='image001-image005', test='image005'),
      'data.split.test has image005, as has config.data.split.train',
    ),
    (dict(test='image005'), 'data.split.train is not'),
  ],
)
def test_ranges_that_mean_nothing_are_reported(load_config, splits_of, message):
  with pytest.raises(errors.InputError, match=message):
    ranges(load_config, IMAGES, **splits_of)


def test_splits_are_written_down_and_read_again(tmp_path):
  assert splits.load(tmp_path) == {}
  keys = {'train': ('a', 'b'), 'val': ['c']}
  splits.save(tmp_path, keys, ())
  assert splits.load(tmp_path) == {'train': ['a', 'b'], 'val': ['c']}
  splits.save(tmp_path, keys, (['a', 'b'], ['c']))
  assert splits.load(tmp_path)['folds'] == [['a', 'b'], ['c']]
  (tmp_path / splits.FILE).write_text('{')
  with pytest.raises(errors.InputError, match='cannot be read'):
    splits.load(tmp_path)

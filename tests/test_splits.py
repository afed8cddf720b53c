"""Lists and ratios."""

import pytest

from unet_jax import config as config_lib
from unet_jax.data import splits

NAMES = [f'name{i}' for i in range(10)]


def test_lists_keep_their_order_and_skip_blank_lines(tmp_path):
  (tmp_path / 'train.txt').write_text('b\r\n\r\n  a \nc')
  (tmp_path / 'test.txt').write_text('\ufeffd\n', 'utf-8')
  found = splits.read_lists(tmp_path)
  assert found == {'train': ['b', 'a', 'c'], 'test': ['d']}


def test_no_list_at_all_is_not_an_error(tmp_path):
  assert splits.read_lists(tmp_path) == {}
  splits.check_lists({}, tmp_path)


def test_empty_list_and_missing_train_list_are_named(tmp_path):
  (tmp_path / 'val.txt').write_text('a\n')
  with pytest.raises(config_lib.InputError, match=r'val\.txt but no train\.tx'):
    splits.check_lists(splits.read_lists(tmp_path), tmp_path)
  (tmp_path / 'train.txt').write_text('\n \n')
  with pytest.raises(config_lib.InputError, match=r'train\.txt is empty; list'):
    splits.check_lists(splits.read_lists(tmp_path), tmp_path)


@pytest.mark.parametrize(
  ('share', 'num_val'), [(0.0, 0), (0.01, 1), (0.2, 2), (0.25, 2), (0.9, 9)]
)
def test_share_is_held_back_once_and_in_order(share, num_val):
  train, val = splits.hold_back(NAMES, share, seed=0)
  assert len(val) == num_val
  assert sorted(train + val) == NAMES
  assert train == sorted(train)
  assert val == sorted(val)


def test_seed_alone_decides_who_is_held_back():
  draws = {tuple(splits.hold_back(NAMES, 0.3, seed)[1]) for seed in range(9)}
  assert len(draws) > 5
  assert splits.hold_back(NAMES, 0.3, 4) == splits.hold_back(NAMES, 0.3, 4)


def test_same_name_twice_is_held_back_by_place():
  train, val = splits.hold_back(['x'] * 10, 0.2, seed=0)
  assert (len(train), len(val)) == (8, 2)


@pytest.mark.parametrize(('count', 'share'), [(1, 0.2), (3, 0.9)])
def test_nothing_left_to_train_on_is_told(count, share):
  with pytest.raises(config_lib.InputError, match='val_share.*leaves none'):
    splits.hold_back(NAMES[:count], share, seed=0)

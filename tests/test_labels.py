"""Masks as stored -> labels."""

import numpy as np
import pytest

from unet_jax import config as config_lib
from unet_jax.data import labels

RED = np.array([[1, 1, 0, 0]], bool)
BRIGHT = np.array([[0, 1, 1, 0]], bool)


def decode(mask, encoding, task='multiclass', classes=('a', 'b'), merge=None):
  return labels.decode(
    mask,
    encoding,
    task=task,
    classes=classes,
    merge=merge or {},
    where='masks/x.png',
  )


def test_binary_mask_of_0_and_255_becomes_0_and_1():
  mask = np.array([[0, 255], [255, 0]], np.uint8)
  label, overlap = decode(mask, 'binary', task='binary', classes=('a',))
  assert label.dtype == np.uint8
  assert overlap == 0
  np.testing.assert_array_equal(label, [[0, 1], [1, 0]])


@pytest.mark.parametrize('value', [0, 255])
def test_binary_mask_may_be_all_one_value(value):
  mask = np.full((2, 2), value, np.uint8)
  np.testing.assert_array_equal(
    labels.from_binary(mask, 'x'), np.full((2, 2), value // 255)
  )


def test_one_bit_mask_is_taken_as_it_is():
  for encoding in ('binary', 'index'):
    label, _ = decode(RED, encoding, task='binary', classes=('a',))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, RED)


def test_binary_mask_of_0_and_1_is_told_to_be_an_index():
  mask = np.array([[0, 1]], np.uint8)
  message = r'masks/x\.png.* use --config\.data\.mask=index'
  with pytest.raises(config_lib.InputError, match=message):
    decode(mask, 'binary')


def test_index_mask_keeps_its_values_and_255_is_void():
  mask = np.array([[0, 1, 2, 255]], np.uint8)
  label, _ = decode(mask, 'index')
  assert labels.VOID == 255
  np.testing.assert_array_equal(label, mask)


@pytest.mark.parametrize(
  ('mask', 'encoding', 'message'),
  [
    ([0, 1, 3, 3], 'index', r'x\.png: mask value 3 in 2 pixels.* 0 to 2;'),
    ([0, 7, 255, 0], 'binary', r'x\.png: mask value 7 in 1 pixels.* 0 and 255'),
  ],
)
def test_undeclared_value_is_named_with_file_and_pixels(
  mask, encoding, message
):
  with pytest.raises(config_lib.InputError, match=message):
    decode(np.array([mask], np.uint8), encoding)


def test_folders_exclude_each_other_and_the_later_wins():
  label, overlap = decode({'a': RED, 'b': BRIGHT}, 'folders')
  assert overlap == 1
  np.testing.assert_array_equal(label, [[1, 2, 2, 0]])
  label, _ = decode({'a': RED, 'b': BRIGHT}, 'folders', classes=('b', 'a'))
  np.testing.assert_array_equal(label, [[2, 2, 1, 0]])


def test_merged_class_is_the_union_of_its_folders():
  planes = {'x': RED, 'y': BRIGHT, 'z': ~(RED | BRIGHT)}
  label, overlap = decode(
    planes, 'folders', merge={'a': ('x', 'y'), 'b': ('z',)}
  )
  assert overlap == 0
  np.testing.assert_array_equal(label, [[1, 1, 1, 2]])
  label, _ = decode(
    planes, 'folders', task='binary', classes=('a',), merge={'a': ('x', 'y')}
  )
  np.testing.assert_array_equal(label, [[1, 1, 1, 0]])


def test_multilabel_keeps_overlapping_planes():
  label, overlap = decode({'a': RED, 'b': BRIGHT}, 'folders', task='multilabel')
  assert label.dtype == np.uint8
  assert overlap == 0
  np.testing.assert_array_equal(label, np.stack([RED, BRIGHT], axis=-1))


def test_multilabel_of_an_index_is_its_planes_and_void_is_void_in_all():
  mask = np.array([[0, 1, 2, 255]], np.uint8)
  label, _ = decode(mask, 'index', task='multilabel')
  np.testing.assert_array_equal(label, [[[0, 0], [1, 0], [0, 1], [255, 255]]])


def test_overlap_counts_pixels_not_planes():
  planes = np.ones((2, 3, 3), np.uint8)
  label, overlap = labels.exclude(planes)
  assert overlap == 6
  np.testing.assert_array_equal(label, np.full((2, 3), 3))


def test_background_is_a_class_where_classes_exclude():
  assert labels.class_names('multiclass', ['a']) == ('background', 'a')
  assert labels.class_names('multilabel', ['a', 'b']) == ('a', 'b')
  assert labels.class_names('binary', ['a']) == ('a',)

"""Masks as stored -> labels."""

import numpy as np
import pytest
from settings import set_data

from unet_jax import defaults, errors
from unet_jax.data import labels, spec

RED = np.array([[1, 1, 0, 0]], bool)
BRIGHT = np.array([[0, 1, 1, 0]], bool)


def decode(
  mask, encoding, task='multiclass', classes=('a', 'b'), merge=None, **data
):
  config = defaults.get_config()
  config.task = task
  set_data(config, source='folder', mask=encoding, merge=merge or {}, **data)
  coding = labels.make_coding(spec.read(config), classes)
  return labels.decode(mask, coding, 'masks/x.png')


def test_binary_mask_of_0_and_255_becomes_0_and_1():
  mask = np.array([[0, 255], [255, 0]], np.uint8)
  label, overlap, _ = decode(mask, 'binary', task='binary', classes=('a',))
  assert label.dtype == np.uint8
  assert overlap == 0
  np.testing.assert_array_equal(label, [[0, 1], [1, 0]])


@pytest.mark.parametrize('value', [0, 255])
def test_binary_mask_may_be_all_one_value(value):
  mask = np.full((2, 2), value, np.uint8)
  label, *_ = decode(mask, 'binary', classes=('a',))
  np.testing.assert_array_equal(label, np.full((2, 2), value // 255))


def test_one_bit_mask_is_read_as_stored():
  for encoding in ('binary', 'index'):
    label, *_ = decode(RED, encoding, task='binary', classes=('a',))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, RED)


def test_binary_mask_of_0_and_1_is_reported_as_an_index():
  mask = np.array([[0, 1]], np.uint8)
  message = r'masks/x\.png.* use --config\.data\.masks\.kind=index'
  with pytest.raises(errors.InputError, match=message):
    decode(mask, 'binary', classes=('a',))


def test_index_mask_keeps_its_values_and_255_is_void():
  mask = np.array([[0, 1, 2, 255]], np.uint8)
  label, *_ = decode(mask, 'index')
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
  classes = ('a',) if encoding == 'binary' else ('a', 'b')
  with pytest.raises(errors.InputError, match=message):
    decode(np.array([mask], np.uint8), encoding, classes=classes)


def test_folders_exclude_each_other_and_the_later_wins():
  label, overlap, _ = decode({'a': RED, 'b': BRIGHT}, 'folders')
  assert overlap == 1
  np.testing.assert_array_equal(label, [[1, 2, 2, 0]])
  label, *_ = decode({'a': RED, 'b': BRIGHT}, 'folders', classes=('b', 'a'))
  np.testing.assert_array_equal(label, [[2, 2, 1, 0]])


def test_merged_class_is_the_union_of_its_folders():
  planes = {'x': RED, 'y': BRIGHT, 'z': ~(RED | BRIGHT)}
  label, overlap, _ = decode(
    planes, 'folders', merge={'a': ('x', 'y'), 'b': ('z',)}
  )
  assert overlap == 0
  np.testing.assert_array_equal(label, [[1, 1, 1, 2]])
  label, *_ = decode(
    planes, 'folders', task='binary', classes=('a',), merge={'a': ('x', 'y')}
  )
  np.testing.assert_array_equal(label, [[1, 1, 1, 0]])


def test_multilabel_keeps_overlapping_planes():
  label, overlap, _ = decode(
    {'a': RED, 'b': BRIGHT}, 'folders', task='multilabel'
  )
  assert label.dtype == np.uint8
  assert overlap == 0
  np.testing.assert_array_equal(label, np.stack([RED, BRIGHT], axis=-1))


def test_multilabel_of_an_index_is_its_planes_and_void_is_void_in_all():
  mask = np.array([[0, 1, 2, 255]], np.uint8)
  label, *_ = decode(mask, 'index', task='multilabel')
  np.testing.assert_array_equal(label, [[[0, 0], [1, 0], [0, 1], [255, 255]]])


def test_overlap_counts_pixels_not_planes():
  planes = np.ones((2, 3, 3), np.uint8)
  label, overlap = labels.exclude(planes)
  assert overlap == 6
  np.testing.assert_array_equal(label, np.full((2, 3), 3))


def test_background_is_a_plane_where_classes_exclude_and_it_has_a_name():
  assert labels.class_names('multiclass', ['a'], 'ground') == ('ground', 'a')
  assert labels.class_names('multiclass', ['a', 'b'], '') == ('a', 'b')
  assert labels.class_names('multilabel', ['a', 'b'], 'x') == ('a', 'b')
  assert labels.class_names('binary', ['a'], 'x') == ('a',)


# Values and colours.


def test_without_background_the_first_class_is_0_and_void_is_as_declared():
  mask = np.array([[0, 1, 11, 255]], np.uint8)  # Like CamVid's, where sky is 0.
  label, *_ = decode(mask, 'index', background='', void=(11,))
  np.testing.assert_array_equal(label, [[0, 1, 255, 255]])
  planes, *_ = decode(mask, 'index', 'multilabel', background='', void=(11,))
  np.testing.assert_array_equal(
    planes, [[[1, 0], [0, 1], [255, 255], [255, 255]]]
  )


def test_values_are_merged_renamed_and_ordered():
  mask = np.array([[0, 1, 2, 3, 4]], np.uint8)
  merge = {'a': (3, 4), 'b': (1,), 'background': (0, 2)}
  label, *_ = decode(mask, 'index', merge=merge)
  np.testing.assert_array_equal(label, [[0, 2, 0, 1, 1]])
  label, *_ = decode(
    mask, 'index', 'binary', ('a',), {'a': (1, 2, 3)}, void=(4,)
  )
  np.testing.assert_array_equal(label, [[0, 1, 1, 1, 255]])


COLORS = {'background': ('#000000',), 'a': ('#ff0000',), 'b': ('#00ff80',)}


def test_colors_are_classes():
  mask = np.array(
    [[[0, 0, 0], [255, 0, 0], [0, 255, 128], [9, 9, 9]]], np.uint8
  )
  label, *_ = decode(mask, 'color', merge=COLORS, void=('#090909',))
  np.testing.assert_array_equal(label, [[0, 1, 2, 255]])
  message = r"x\.png: colour '#090909' in 1 pixels is not declared; add it"
  with pytest.raises(errors.InputError, match=message):
    decode(mask, 'color', merge=COLORS)


@pytest.mark.parametrize(
  ('encoding', 'merge', 'message'),
  [
    ('index', {'a': (2,), 'b': (2,)}, 'value 2 means a and b'),
    ('index', {'a': (2,)}, 'value 2 means a and b'),
    ('index', {'a': ('x',)}, "'x' in config.data.masks.merge"),
    ('index', {'a': (1 << 24,)}, 'a value from 0 to 16777215'),
    ('binary', {'a': (300,)}, 'a value from 0 to 255'),
    ('color', {}, 'no mask value means background; name its colours'),
    ('color', COLORS | {'a': ('red',)}, "'red' .* a colour '#rrggbb'"),
    ('color', COLORS | {'a': ('#00ff8g',)}, "'#00ff8g'"),
  ],
)
def test_tables_that_mean_nothing_are_reported(encoding, merge, message):
  with pytest.raises(errors.InputError, match=message):
    decode(np.zeros((1, 1), np.uint8), encoding, merge=merge)


def test_values_above_255_are_classes_by_merge():
  mask = np.array([[0, 7, 1001, 70000]], np.int32)
  merge = {'a': (7, 1001), 'b': (70000,)}
  label, *_ = decode(mask, 'index', merge=merge)
  np.testing.assert_array_equal(label, [[0, 1, 1, 2]])
  for other in (1002, 70001):  # One is in the table, one is beyond it.
    with pytest.raises(errors.InputError, match=f'value {other} in 1 pixels'):
      decode(np.where(mask == 7, other, mask), 'index', merge=merge)


# Planes.


def test_numbered_planes_are_classes_with_their_background_or_without():
  background = ~(RED | BRIGHT)
  for planes in ([background, RED, BRIGHT], [RED, BRIGHT]):
    label, overlap, _ = decode(dict(enumerate(planes)), 'planes')
    np.testing.assert_array_equal(label, [[1, 2, 2, 0]])
    assert overlap == 1
  with pytest.raises(errors.InputError, match='plane 0 is not the backgro'):
    decode(dict(enumerate([RED, RED, BRIGHT])), 'planes')
  with pytest.raises(errors.InputError, match='has 4 planes, but there ar'):
    decode(dict.fromkeys(range(4), RED), 'planes')


def test_void_planes_and_values_are_no_classes():
  background = ~(RED | BRIGHT)
  unsure = np.array([[1, 0, 0, 0]], bool)
  for void in (0, 3):
    planes = [background, RED, BRIGHT]
    planes.insert(void, unsure)
    label, *_ = decode(dict(enumerate(planes)), 'planes', void=(void,))
    np.testing.assert_array_equal(label, [[255, 2, 2, 0]])
  planes = np.stack([background, RED, BRIGHT]).astype(np.uint8)
  planes[:, 0, 3] = 255
  label, *_ = decode(dict(enumerate(planes)), 'planes')
  np.testing.assert_array_equal(label, [[1, 2, 2, 255]])


def test_numbered_planes_are_merged_and_255_is_void():
  planes = {0: RED, 1: BRIGHT, 2: np.array([[0, 0, 0, 255]], np.uint8)}
  merge = {'a': (1,), 'b': (0, 2)}
  label, *_ = decode(planes, 'planes', 'multilabel', merge=merge)
  np.testing.assert_array_equal(label, [[[0, 1], [1, 1], [1, 0], [255, 255]]])
  with pytest.raises(errors.InputError, match='no plane 7, only 0 to 2'):
    decode(planes, 'planes', merge={'a': (7,), 'b': (0,)})
  with pytest.raises(errors.InputError, match='value 9 in 1 pixels'):
    decode({0: RED, 1: np.array([[0, 1, 9, 0]], np.uint8)}, 'planes')


def test_every_pixel_has_a_class_where_there_is_no_background():
  planes = {'a': RED, 'b': ~RED}
  label, *_ = decode(planes, 'folders', background='')
  np.testing.assert_array_equal(label, [[0, 0, 1, 1]])
  with pytest.raises(errors.InputError, match='1 pixels belong to no class'):
    decode({'a': RED, 'b': BRIGHT}, 'folders', background='')
  label, *_ = decode(
    {'a': RED, 'b': BRIGHT, 'rest': ~(RED | BRIGHT)},
    'folders',
    background='',
    void=('rest',),
  )
  np.testing.assert_array_equal(label, [[0, 1, 1, 255]])


GRADES = np.array([[0, 21, 126, 252]], np.uint8)


def test_threshold_is_foreground_and_its_effect_is_counted():
  for threshold, expected in ((26, [0, 0, 1, 1]), (127, [0, 0, 0, 1])):
    label, _, marked = decode(
      {'a': GRADES}, 'folders', 'binary', ('a',), threshold=threshold
    )
    np.testing.assert_array_equal(label, [expected])
    assert marked == {'a': (sum(expected), 3)}


def test_soft_labels_are_254_times_the_agreement():
  label, *_ = decode({'a': GRADES, 'b': RED}, 'folders', 'multilabel', soft=252)
  np.testing.assert_array_equal(
    label, [[[0, 254], [21, 254], [127, 0], [254, 0]]]
  )
  planes = labels.to_planes(label, 2, soft=True)
  np.testing.assert_array_equal(planes, [[[0, 1], [0, 1], [0, 0], [1, 0]]])
  merged, *_ = decode(
    {'a': GRADES, 'b': RED},
    'folders',
    'binary',
    ('c',),
    {'c': ('a', 'b')},
    soft=252,
  )
  np.testing.assert_array_equal(merged, [[254, 254, 127, 254]])
  with pytest.raises(errors.InputError, match='252 is above .*soft, 4'):
    decode({'a': GRADES}, 'folders', 'binary', ('a',), soft=4)


def test_float_planes_are_probabilities():
  grades = GRADES.astype(np.float32) / 252
  label, *_ = decode({0: grades}, 'planes', 'binary', ('a',))
  np.testing.assert_array_equal(
    label, [[0, 0, 0, 1]]
  )  # 0.5 is below 128 / 255.
  label, *_ = decode({0: grades}, 'planes', 'binary', ('a',), soft=1)
  np.testing.assert_array_equal(label, [[0, 21, 127, 254]])
  for wrong in (2 * grades, grades * np.nan, grades - 1):
    with pytest.raises(errors.InputError, match='must be from 0 to 1'):
      decode({0: wrong}, 'planes', 'binary', ('a',))


def test_graded_mask_of_0_and_1_is_not_read_as_empty():
  mask = {'a': RED.astype(np.uint8)}
  with pytest.raises(errors.InputError, match=r'x\.png, a: .*threshold=1$'):
    decode(mask, 'folders', 'binary', ('a',))
  label, *_ = decode(mask, 'folders', 'binary', ('a',), threshold=1)
  np.testing.assert_array_equal(label, RED)


def test_label_of_either_kind_has_the_same_foreground():
  label = np.array([[0, 1, 2, labels.VOID]], np.uint8)
  planes = labels.to_planes(label, 2)
  np.testing.assert_array_equal(planes, [[[0, 0], [1, 0], [0, 1], [0, 0]]])
  stacked = np.where(label[..., None] == labels.VOID, labels.VOID, planes)
  np.testing.assert_array_equal(labels.to_planes(stacked, 2), planes)
  first = labels.to_planes(label, 3, first=0)
  np.testing.assert_array_equal(first[..., 1:], planes)
  np.testing.assert_array_equal(first[..., 0], [[1, 0, 0, 0]])

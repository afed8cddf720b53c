"""Finds the images to predict, and checks the contents of their masks."""

import numpy as np
import pytest

from unet_jax import errors
from unet_jax.data import labels
from unet_jax.evaluation import predictions

PLANES = np.eye(3, dtype=bool)[np.array([[0, 1], [2, 1]])]


def test_files_and_folders_are_found_in_order(tmp_path):
  (tmp_path / 'more').mkdir()
  for name in ('z.png', 'more/b.jpg', 'more/a.gif', 'more/readme.txt'):
    (tmp_path / name).touch()
  paths = predictions.find_images(
    [str(tmp_path / 'z.png'), str(tmp_path / 'more')]
  )
  assert [path.name for path in paths] == ['z.png', 'a.gif', 'b.jpg']


def test_missing_inputs_and_colliding_names_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r'--input .*x\.png: no such'):
    predictions.find_images([str(tmp_path / 'x.png')])
  (tmp_path / 'x.png').touch()
  (tmp_path / 'x.jpg').touch()
  names = [str(tmp_path / 'x.png'), str(tmp_path / 'x.jpg')]
  with pytest.raises(errors.InputError, match=r'both be written as x\.png'):
    predictions.find_images(names)


def test_exclusive_mask_holds_class_indices():
  classes = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
  masks = predictions.masks(PLANES, classes)
  assert list(masks) == ['']
  assert masks[''].dtype == np.uint8
  np.testing.assert_array_equal(masks[''], [[0, 1], [2, 1]])


def test_binary_mask_holds_0_and_1():
  classes = labels.ClassSpec(('a',), 1, exclusive=False)
  masks = predictions.masks(PLANES[..., 1:2], classes)
  np.testing.assert_array_equal(masks[''], [[0, 1], [0, 1]])


def test_overlapping_classes_have_a_mask_each():
  classes = labels.ClassSpec(('a', 'b', 'c'), 3, exclusive=False)
  masks = predictions.masks(PLANES, classes)
  assert list(masks) == ['_a', '_b', '_c']
  named = labels.ClassSpec(('../a', 'b', 'c'), 3, exclusive=False)
  assert list(predictions.masks(PLANES, named))[0] == '_..%2Fa'
  for i, mask in enumerate(masks.values()):
    np.testing.assert_array_equal(mask, PLANES[..., i])

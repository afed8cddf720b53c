"""Decoding: values as stored, and faults named."""

import struct

import numpy as np
import pytest
from PIL import Image

from unet_jax import errors
from unet_jax.data import files

INDEX = np.array([[0, 1, 2, 1], [3, 0, 2, 2]], np.uint8)
GREY = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
COLOR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def save(path, array, mode=None, **options):
  image = Image.fromarray(array)
  (image if mode is None else image.convert(mode)).save(path, **options)
  return path


def test_planes_are_arrays_of_three_axes(tmp_path):
  planes = np.stack([i == INDEX for i in range(3)], axis=-1)
  np.save(tmp_path / 'x.npy', planes)
  np.testing.assert_array_equal(files.read_planes(tmp_path / 'x.npy'), planes)
  np.save(tmp_path / 'y.npy', INDEX)
  with pytest.raises(errors.InputError, match=r'y\.npy holds uint8\[4, 6|2'):
    files.read_planes(tmp_path / 'y.npy')
  (tmp_path / 'z.npy').write_bytes((tmp_path / 'x.npy').read_bytes()[:-3])
  with pytest.raises(errors.InputError, match=r'z\.npy: not a readable'):
    files.read_planes(tmp_path / 'z.npy')


@pytest.mark.parametrize(
  'header',
  [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9" + 12 * '0' + ',)}',
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('" + 50 * '(' + "', 'x')], 'shape': ()}",
    '((' * 90,
    "{'shape': ",
    '\0' * 20,
  ],
)
def test_junk_in_the_header_of_an_array_is_one_line(tmp_path, header):
  path = tmp_path / 'x.npy'
  text = header.encode().ljust(117) + b'\n'
  path.write_bytes(b'\x93NUMPY\x01\0' + struct.pack('<H', len(text)) + text)
  with pytest.raises(errors.InputError, match='not a readable .npy') as caught:
    files.read_planes(path)
  assert '\n' not in str(caught.value)


def test_archive_of_arrays_is_called_so(tmp_path):
  with (tmp_path / 'x.npy').open('wb') as file:
    np.savez(file, INDEX)
  with pytest.raises(errors.InputError, match='an .npz archive'):
    files.read_planes(tmp_path / 'x.npy')


def test_rescale_keeps_the_proportions_and_nearest_makes_no_new_values():
  label = np.array([[0, 1, 255], [2, 2, 1]], np.uint8).repeat(10, 0)
  nearest = Image.Resampling.NEAREST
  smaller = files.rescale(label, 10, nearest)
  assert smaller.shape == (10, 2)  # 20 x 3: the shorter side rounds to 2.
  assert set(np.unique(smaller)) <= {0, 1, 2, 255}
  planes = np.stack([label, label[::-1]], axis=-1)
  twice = files.rescale(planes, 40, nearest)
  np.testing.assert_array_equal(twice, planes.repeat(2, 0).repeat(2, 1))


def test_box_filter_averages_blocks():
  image = np.arange(0, 96, 2, np.uint8).reshape(4, 4, 3)
  smaller = files.rescale(image, 2, Image.Resampling.BOX)
  means = image.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(smaller, means, atol=0.5)

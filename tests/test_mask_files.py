"""Masks: values as stored, of any depth, and faults named."""

import numpy as np
import pytest
from PIL import Image
from test_files import INDEX
from test_image_files import COLOR, save, save_png

from unet_jax import errors
from unet_jax.data import mask_files


def save_palette(path, index):
  palette = Image.fromarray(index)
  palette.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30, 90, 90, 250])
  palette.save(path)
  return path


def read_index(path, *others, task='multiclass'):
  return mask_files.read_index(
    path,
    task=task,
    has_instances=lambda: mask_files.number_instances([path, *others]),
  )


def read_levels(path, *others):
  return mask_files.read_levels(
    path, white=lambda: mask_files.find_white([path, *others])
  )


@pytest.mark.parametrize('suffix', ['.png', '.gif', '.tif'])
def test_palette_mask_is_read_as_its_indices(tmp_path, suffix):
  path = save_palette(tmp_path / f'x{suffix}', INDEX)
  with Image.open(path) as image:
    assert not np.array_equal(image.convert('L'), INDEX)
  np.testing.assert_array_equal(read_index(path), INDEX)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.tiff', '.ppm', '.gif'])
def test_grey_mask_keeps_its_values(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', INDEX)
  np.testing.assert_array_equal(read_index(path), INDEX)


def test_one_bit_mask_is_boolean(tmp_path):
  path = save(tmp_path / 'x.png', INDEX > 0)
  mask = read_levels(path)
  assert mask.dtype == bool
  np.testing.assert_array_equal(mask, INDEX > 0)


@pytest.mark.parametrize(('bits', 'rows'), [(2, [b'\x1b']), (4, [b'\x01\x23'])])
def test_grey_of_few_bits_is_an_index_or_a_brightness(tmp_path, bits, rows):
  path = save_png(tmp_path / 'x.png', bits, 0, rows, width=4)
  index = read_index(path)
  np.testing.assert_array_equal(index, [[0, 1, 2, 3]])
  brightness = read_levels(path)
  np.testing.assert_array_equal(brightness, index * (255 // (2**bits - 1)))


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_mask_with_channels_is_refused(tmp_path, mode):
  path = save(tmp_path / 'x.png', COLOR, mode)
  with pytest.raises(errors.InputError, match=rf'x\.png.*{mode}.*8-bit'):
    read_index(path)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_mask_of_equal_channels_is_grey(tmp_path, mode):
  path = save(tmp_path / 'x.png', INDEX, mode)
  np.testing.assert_array_equal(read_index(path), INDEX)
  path = save(tmp_path / 'x.webp', INDEX, mode, lossless=True)
  np.testing.assert_array_equal(read_index(path), INDEX)


@pytest.mark.parametrize(('kind', 'channels'), [(2, 3), (4, 2)])
def test_wide_mask_of_channels_is_not_cut_to_nothing(tmp_path, kind, channels):
  row = np.full((2, channels), 255, '>u2')
  if channels == 2:
    row[:, 1] = 65535  # Opaque.
  path = save_png(tmp_path / 'x.png', 16, kind, [row.tobytes()], width=2)
  with pytest.raises(errors.InputError, match='8-bit PNG of indices'):
    read_levels(path)


def test_transparent_pixels_of_a_mask_are_background(tmp_path):
  alpha = np.full_like(INDEX, 255)
  alpha[0] = 0
  expected = np.where(alpha > 0, INDEX, 0)
  for channels in ([INDEX], [INDEX] * 3):
    path = save(tmp_path / 'y.png', np.stack([*channels, alpha], axis=-1))
    np.testing.assert_array_equal(read_index(path), expected)
  # An empty mask, of which nothing was drawn.
  path = save(tmp_path / 'z.png', np.zeros((*INDEX.shape, 4), np.uint8))
  assert not read_index(path).any()


@pytest.mark.parametrize('alpha', [0, 254])
def test_a_mask_that_is_half_transparent_or_hidden_is_refused(tmp_path, alpha):
  clear = np.stack([INDEX, np.full_like(INDEX, alpha)], axis=-1)
  path = save(tmp_path / 'y.png', clear)
  with pytest.raises(errors.InputError, match=r'y\.png: .*transparent'):
    read_index(path)


WIDE = [('.png', np.uint16), ('.tif', np.uint16), ('.tif', np.int32)]


@pytest.mark.parametrize(('suffix', 'dtype'), WIDE)
def test_wide_mask_of_low_values_is_read_as_8_bits_are(tmp_path, suffix, dtype):
  path = save(tmp_path / f'x{suffix}', INDEX.astype(dtype))
  np.testing.assert_array_equal(read_index(path), INDEX)
  for top in (1, 255):
    mask = np.where(INDEX > 1, top, 0)
    path = save(tmp_path / f'y{suffix}', mask.astype(dtype))
    np.testing.assert_array_equal(read_levels(path), mask)


@pytest.mark.parametrize(('suffix', 'dtype'), WIDE)
def test_wide_masks_of_high_values_are_scaled(tmp_path, suffix, dtype):
  levels = INDEX.astype(np.int32) * 21845  # 0 to 65535.
  path = save(tmp_path / f'x{suffix}', levels.astype(dtype))
  empty = save(tmp_path / f'y{suffix}', np.zeros_like(INDEX, dtype))
  np.testing.assert_array_equal(read_levels(path, empty), INDEX * 85)
  assert not read_levels(empty, path).any()
  np.testing.assert_array_equal(read_index(path), levels)


def test_wide_masks_of_both_kinds_are_refused(tmp_path):
  low = save(tmp_path / 'x.png', (INDEX * 85).astype(np.uint16))
  high = save(tmp_path / 'y.png', INDEX.astype(np.uint16) * 21845)
  plain = save(tmp_path / 'z.png', INDEX)
  for path, other in ((low, high), (high, low)):
    with pytest.raises(errors.InputError, match='save all masks with 8 bits'):
      read_levels(path, other)
  np.testing.assert_array_equal(read_levels(plain, low, high), INDEX)


def test_values_that_are_no_class_are_refused(tmp_path):
  path = save(tmp_path / 'x.tif', INDEX.astype(np.int32) - 1)
  with pytest.raises(errors.InputError, match='mask value -1 is not from 0'):
    read_levels(path)
  with pytest.raises(errors.InputError, match='mask value -1 is below 0'):
    read_index(path)
  path = save(tmp_path / 'y.tif', INDEX.astype(np.float32))
  with pytest.raises(errors.InputError, match=r'y\.tif: its values are floats'):
    read_index(path)


@pytest.mark.parametrize('top', [1, 255, 65535])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_view_is_all_that_is_not_black(tmp_path, top, dtype):
  view = INDEX > 1
  top = min(top, np.iinfo(dtype).max)
  path = save(tmp_path / 'x.png', (view * top).astype(dtype))
  np.testing.assert_array_equal(mask_files.read_view(path), view)


@pytest.mark.parametrize(('suffix', 'dtype'), WIDE)
def test_more_values_than_classes_number_objects(tmp_path, suffix, dtype):
  numbers = np.arange(300).reshape(15, 20)
  half, rest = np.split(numbers, [8])
  halves = [
    save(tmp_path / f'{i}{suffix}', x.astype(dtype))
    for i, x in enumerate((half, rest))
  ]
  mask = read_index(*halves, task='binary')
  assert mask.dtype == bool
  np.testing.assert_array_equal(mask, half > 0)
  with pytest.raises(errors.InputError, match='number objects.*kind=index'):
    read_index(*halves)
  np.testing.assert_array_equal(read_index(halves[1]), rest)
  plain = save(tmp_path / f'x{suffix}', INDEX)  # Of 8 bits: no number.
  np.testing.assert_array_equal(read_index(plain, *halves), INDEX)

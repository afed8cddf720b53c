"""Files that are written by rows hold the array, and nothing half-written."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_jax import errors
from unet_jax.evaluation import raster_files

SHAPE = (600, 300)
PALETTE = np.array([(0, 0, 0), (255, 10, 20), (1, 2, 3)], np.uint8)


def write(path, array, palette=None):
  with raster_files.open_file(path, array.shape, array.dtype, palette) as put:
    for top in range(0, len(array), raster_files.TILE):
      put(array[top : top + raster_files.TILE])


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('ending', ['png', 'tif', 'npy'])
def test_the_file_holds_the_array(tmp_path, ending, dtype):
  rng = np.random.default_rng(0)
  array = rng.integers(0, np.iinfo(dtype).max, SHAPE, dtype)
  path = tmp_path / 'new' / f'a.{ending}'
  write(path, array)
  if ending == 'npy':
    stored = np.load(path)
  else:
    with Image.open(path) as image:
      stored = np.asarray(image)
  assert stored.dtype == dtype
  np.testing.assert_array_equal(stored, array)
  assert [x.name for x in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_a_palette_colours_indices(tmp_path, ending):
  array = np.random.default_rng(0).integers(0, 3, SHAPE, np.uint8)
  path = tmp_path / f'a.{ending}'
  write(path, array, PALETTE)
  with Image.open(path) as image:
    assert image.mode == 'P'
    np.testing.assert_array_equal(np.asarray(image), array)
    colors = np.asarray(image.convert('RGB'))
  np.testing.assert_array_equal(colors, PALETTE[array])


def test_a_tiff_is_tiled(tmp_path):
  write(tmp_path / 'a.tif', np.zeros(SHAPE, np.uint8))
  with tifffile.TiffFile(tmp_path / 'a.tif') as file:
    assert file.pages.first.tile == (256, 256)
    assert file.pages.first.shape == SHAPE


@pytest.mark.parametrize('ending', ['png', 'tif', 'npy'])
def test_an_image_that_fails_leaves_no_file(tmp_path, ending):
  path = tmp_path / f'a.{ending}'

  def fail():
    with raster_files.open_file(path, SHAPE, np.uint8) as put:
      put(np.zeros((256, 300), np.uint8))
      raise errors.InputError('damaged')

  with pytest.raises(errors.InputError, match='damaged'):
    fail()
  assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(errors.InputError, match='cannot be written'):
    write(tmp_path / 'file/a.tif', np.zeros(SHAPE, np.uint8))

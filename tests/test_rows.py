"""TIFFs read in parts give what Pillow reads as a whole."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_jax import errors
from unet_jax.data import image_files, image_kinds, rows

SHAPE = (70, 90)


def draw(*channels, dtype=np.uint8):
  rng = np.random.default_rng(0)
  return rng.integers(0, np.iinfo(dtype).max, (*SHAPE, *channels), dtype)


def read(
  path,
  *,
  num_channels=3,
  dtype='uint8',
  channels='all',
  max_pixels=0,
  may_be_dark=bool,
):
  """Reads strips of 16 rows, each twice, as they are used."""
  opened = rows.open_rows(
    path,
    kind=image_kinds.Kind(dtype, (('', num_channels),)),
    channels=channels,
    max_pixels=max_pixels,
    may_be_dark=may_be_dark,
  )
  with opened as image:
    assert image.shape == SHAPE
    assert image.is_whole == (max_pixels > 0)
    parts = [image.read(slice(i, min(i + 16, 70))) for i in range(0, 70, 16)]
    np.testing.assert_array_equal(image.read(slice(0, 16)), parts[0])
  return np.concatenate(parts)


@pytest.mark.parametrize(
  'stored',
  [
    dict(),
    dict(compression='zlib', rowsperstrip=7),
    dict(compression='zlib', predictor=True, tile=(32, 48)),
    dict(tile=(16, 16), bigtiff=True),
  ],
)
@pytest.mark.parametrize('channels', [(), (3,)])
def test_parts_are_those_of_the_whole(tmp_path, stored, channels):
  path = tmp_path / 'a.tif'
  photometric = 'rgb' if channels else 'minisblack'
  tifffile.imwrite(path, draw(*channels), photometric=photometric, **stored)
  for count in (1, 3):
    kind = image_kinds.Kind(parts=(('', count),))
    whole = image_files.read_image(path, kind)
    np.testing.assert_array_equal(read(path, num_channels=count), whole)
    decoded = read(path, num_channels=count, max_pixels=10**6)
    np.testing.assert_array_equal(decoded, whole)


def test_a_dark_frame_is_read_where_others_are_bright(tmp_path):
  path, pixels = tmp_path / 'a.tif', draw(dtype=np.uint16) >> 4
  tifffile.imwrite(path, pixels, photometric='minisblack')
  dark = read(path, num_channels=1, max_pixels=10**6, may_be_dark=lambda: True)
  np.testing.assert_array_equal(dark[..., 0], pixels >> 8)
  with pytest.raises(errors.InputError, match='16-bit file'):
    read(path, num_channels=1, max_pixels=10**6)


def test_the_green_channel_and_the_upper_bits_are_kept(tmp_path):
  path, pixels = tmp_path / 'a.tif', draw(3, dtype=np.uint16)
  tifffile.imwrite(path, pixels, photometric='rgb')
  green = read(path, channels='green')
  np.testing.assert_array_equal(green, pixels[..., 1:2] >> 8)


def test_parts_of_other_depths_are_those_of_the_whole(tmp_path):
  path = tmp_path / 'a.tif'
  for pixels in (
    draw(5, dtype=np.uint16),
    draw(dtype=np.int16)[..., None],
    draw(2).astype(np.float32) / 7,
  ):
    stored = dict(photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(path, pixels, **stored if pixels.shape[2] > 1 else {})
    count, dtype = pixels.shape[-1], pixels.dtype.name
    parts = read(path, num_channels=count, dtype=dtype)
    np.testing.assert_array_equal(parts, pixels)


@pytest.mark.parametrize(
  ('pixels', 'stored', 'problem'),
  [
    (draw(dtype=np.int32), {}, 'its values are int32'),
    (draw(dtype=np.int16), {}, 'its values are int16, but .* uint8'),
    (draw(4), dict(photometric='rgb'), 'colours have transparency'),
    (
      draw()[None].repeat(2, axis=0),
      dict(photometric='minisblack'),
      'it has 2 pages',
    ),
    (
      draw(3),
      dict(planarconfig='separate', photometric='rgb'),
      'keeps its chan',
    ),
    (draw(), dict(photometric='miniswhite'), 'its colours are MINISWHITE'),
  ],
)
def test_a_tiff_of_another_kind_is_refused(tmp_path, pixels, stored, problem):
  path = tmp_path / 'a.tif'
  if stored.get('planarconfig'):
    pixels = np.moveaxis(pixels, -1, 0)
  tifffile.imwrite(path, pixels, **stored)
  with pytest.raises(errors.InputError, match=problem):
    read(path)


def test_a_compression_without_its_package_names_it(tmp_path):
  path = tmp_path / 'a.tif'
  Image.fromarray(draw(3)).save(path, compression='tiff_lzw')
  with pytest.raises(errors.InputError, match='LZW.*pip install imagecodecs'):
    read(path)


def test_a_truncated_tiff_is_named(tmp_path):
  path = tmp_path / 'a.tif'
  tifffile.imwrite(path, draw(3), photometric='rgb', compression='zlib')
  content = bytearray(path.read_bytes())
  content[400:5000] = bytes(4600)
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=r'a\.tif: damaged'):
    read(path)


def test_a_large_file_that_is_no_tiff_is_refused_with_the_ways_out(tmp_path):
  path = tmp_path / 'a.png'
  Image.fromarray(draw()).save(path)
  with pytest.raises(errors.InputError, match='--max_pixels=6300'):
    read(path, max_pixels=6299)
  assert not rows.is_large(path, 6300)
  assert rows.is_large(path, 6299)

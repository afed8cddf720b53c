"""Decoding images: values as stored, and faults named."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_jax import errors
from unet_jax.data import files, image_files, image_kinds, stored

GREY = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
COLOR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def read(path, channels, dtype='uint8', **kwargs):
  kind = image_kinds.Kind(dtype, (('', channels),))
  return image_files.read_image(path, kind, **kwargs)


def find_kind(paths, **settings):
  kind, _ = image_kinds.find_kind(paths, **settings)
  return kind


def save(path, array, mode=None, **options):
  image = Image.fromarray(array)
  (image if mode is None else image.convert(mode)).save(path, **options)
  return path


def save_png(path, bits, kind, rows, width):
  """Writes PNG depths that Pillow reads and doesn't write."""

  def chunk(name, data):
    crc = struct.pack('>I', zlib.crc32(name + data))
    return struct.pack('>I', len(data)) + name + data + crc

  header = struct.pack('>IIBBBBB', width, len(rows), bits, kind, 0, 0, 0)
  content = zlib.compress(b''.join(b'\0' + row for row in rows))
  path.write_bytes(
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', header)
    + chunk(b'IDAT', content)
    + chunk(b'IEND', b'')
  )
  return path


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.ppm'])
def test_color_image_is_read_exactly(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', COLOR)
  image = read(path, 3)
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, COLOR)


@pytest.mark.parametrize(
  'suffix', ['.bmp', '.webp', '.jp2', '.pnm', '.tga', '.avif', '.jfif']
)
def test_image_of_a_newer_ending_is_read(tmp_path, suffix):
  smooth = np.linspace(50, 200, 4096).reshape(64, 64).astype(np.uint8)
  color = np.stack([smooth, smooth[::-1], smooth.T], axis=-1)
  is_lossy = suffix in ('.avif', '.jfif')
  options = {} if is_lossy or suffix != '.webp' else {'lossless': True}
  kind = {'.jfif': 'JPEG', '.pnm': 'PPM'}.get(suffix)
  path = save(tmp_path / f'x{suffix}', color, format=kind, **options)
  np.testing.assert_allclose(
    read(path, 3), color.astype(int), atol=12 if is_lossy else 0
  )


def test_the_content_decides_and_not_the_ending(tmp_path):
  path = save(tmp_path / 'x.jpg', COLOR, format='PNG')
  np.testing.assert_array_equal(read(path, 3), COLOR)
  for kind in ('EPS', 'PCX', 'TGA'):  # EPS would start Ghostscript.
    path = save(tmp_path / 'y.png', COLOR, format=kind)
    with pytest.raises(errors.InputError, match=r'y\.png: not a readable'):
      read(path, 3)


@pytest.mark.parametrize(
  ('suffix', 'count'), [('.tif', 8), ('.gif', 3), ('.webp', 2), ('.png', 2)]
)
def test_pages_are_refused_with_their_number(tmp_path, suffix, count):
  pages = [Image.fromarray(np.roll(GREY, i, axis=1)) for i in range(count)]
  path = tmp_path / f'stack{suffix}'
  pages[0].save(path, save_all=True, append_images=pages[1:])
  message = rf'stack\{suffix}: it has {count} pages.*stack_0000\{suffix}'
  with pytest.raises(errors.InputError, match=message):
    read(path, 3)


def test_a_preview_is_no_page(tmp_path):
  path = tmp_path / 'x.tif'
  page, preview = Image.fromarray(GREY), Image.fromarray(GREY[::2, ::2])
  preview.encoderinfo = {'tiffinfo': {254: 1}}  # A reduced copy.
  page.save(path, save_all=True, append_images=[preview])
  with Image.open(path) as image:
    assert image.n_frames == 2
  np.testing.assert_array_equal(read(path, 1)[..., 0], GREY)
  photo = tmp_path / 'x.jpg'
  page.save(photo, 'MPO', save_all=True, append_images=[preview], quality=100)
  np.testing.assert_allclose(read(photo, 1)[..., 0], GREY.astype(int), atol=3)


def test_a_fourth_channel_is_not_dropped(tmp_path):
  path = tmp_path / 'x.tif'
  planes = np.dstack([COLOR, GREY])
  Image.frombytes('RGBX', planes.shape[1::-1], planes.tobytes()).save(path)
  np.testing.assert_array_equal(read(path, 4), planes)
  with pytest.raises(errors.InputError, match=r'x\.tif: it has 4 channels'):
    read(path, 3)


@pytest.mark.parametrize('suffix', ['.jpg', '.gif'])
def test_lossy_image_is_read_nearly(tmp_path, suffix):
  smooth = np.linspace(50, 200, 256).reshape(16, 16).astype(np.uint8)
  path = save(tmp_path / f'x{suffix}', smooth)
  np.testing.assert_allclose(read(path, 1)[..., 0], smooth.astype(int), atol=6)


def test_alpha_is_dropped_if_opaque_and_refused_if_it_hides_anything(tmp_path):
  opaque = np.dstack([COLOR, np.full_like(GREY, 255)])
  path = save(tmp_path / 'rgba.png', opaque)
  np.testing.assert_array_equal(read(path, 3), COLOR)
  opaque[0, 0, 3] = 254
  save(path, opaque)
  with pytest.raises(errors.InputError, match=r'rgba\.png: .*transparent'):
    read(path, 3)


def test_grey_becomes_three_channels(tmp_path):
  path = save(tmp_path / 'grey.png', GREY)
  np.testing.assert_array_equal(read(path, 3), np.stack([GREY] * 3, axis=-1))
  np.testing.assert_array_equal(read(path, 1), GREY[..., None])


@pytest.mark.parametrize(
  ('orientation', 'turn'),
  [(1, 0), (3, 2), (6, 3), (8, 1)],
)
def test_image_is_turned_as_its_exif_says(tmp_path, orientation, turn):
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = save(tmp_path / 'x.png', COLOR, exif=exif)
  np.testing.assert_array_equal(read(path, 3), np.rot90(COLOR, turn))


def test_images_are_grey_only_if_all_are(tmp_path):
  grey = save(tmp_path / 'grey.png', GREY)
  bits = save(tmp_path / 'bits.png', GREY > 100)
  color = save(tmp_path / 'color.png', COLOR)
  assert find_kind([grey, bits]).channels == 1
  assert find_kind([grey, bits, color]).channels == 3


DEEP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2849  # Up to 65527.


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_of_16_bits_grey_all_or_the_upper_8_are_kept(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', DEEP)
  assert find_kind([path]) == ('uint16', (('', 1),), 'refuse')
  for channels in (1, 3):
    for dtype, kept in (('uint16', DEEP), ('uint8', DEEP >> 8)):
      image = read(path, channels, dtype)
      assert image.dtype == dtype
      np.testing.assert_array_equal(image, np.stack([kept] * channels, axis=-1))


def test_of_16_bits_color_the_upper_8_are_kept(tmp_path):
  row = np.arange(12, dtype=np.uint16) * 5957
  path = save_png(tmp_path / 'x.png', 16, 2, [row.astype('>u2').tobytes()], 4)
  np.testing.assert_array_equal(read(path, 3), (row >> 8).reshape(1, 4, 3))
  path = tmp_path / 'x.ppm'
  path.write_bytes(b'P6 4 1 65535\n' + row.astype('>u2').tobytes())
  np.testing.assert_allclose(  # Pillow rounds here.
    read(path, 3), (row / 257).reshape(1, 4, 3), atol=0.5
  )


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_12_bits_in_16_are_refused_and_not_made_black(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', DEEP >> 4)
  with pytest.raises(errors.InputError, match='16-bit.*4096.*0 to 65535'):
    read(path, 1)


def test_dark_frame_of_a_bright_set_is_read(tmp_path):
  dark = save(tmp_path / 'x.png', DEEP >> 4)
  bright = save(tmp_path / 'y.png', DEEP)
  (tmp_path / 'z.png').write_text('damaged')
  others = [dark, tmp_path / 'z.png', bright]
  image = read(dark, 1, may_be_dark=lambda: image_files.has_bright(others))
  np.testing.assert_array_equal(image[..., 0], DEEP >> 12)
  with pytest.raises(errors.InputError, match='16-bit.*4096'):
    read(dark, 1, may_be_dark=lambda: image_files.has_bright(others[:2]))


FLOATS = np.linspace(-1, 2, 24, dtype=np.float32).reshape(4, 6)
FIVE = np.stack([DEEP + i for i in range(5)])  # [5, H, W]
CONTIG = dict(photometric='minisblack', planarconfig='contig')


@pytest.mark.parametrize(
  ('array', 'options'),
  [
    (FLOATS, {}),
    (FLOATS, dict(byteorder='>')),
    (FLOATS.astype(np.float16), {}),
    (FLOATS.astype(np.float64), dict(compression='zlib')),
    ((FLOATS * 1000).astype(np.int16), {}),
    (np.dstack([DEEP, DEEP >> 1, DEEP >> 2]), dict(photometric='rgb')),
    (np.moveaxis(FIVE, 0, -1), CONTIG),
    (np.moveaxis(FIVE, 0, -1).astype(np.uint8), CONTIG),
  ],
)
def test_values_keep_their_depth(tmp_path, array, options):
  path = tmp_path / 'x.tif'
  tifffile.imwrite(path, array, **options)
  kind = find_kind([path])
  assert kind.dtype == ('float32' if array.dtype.kind == 'f' else array.dtype)
  image = image_files.read_image(path, kind)
  assert image.dtype == kind.dtype
  np.testing.assert_array_equal(image, np.atleast_3d(array).astype(kind.dtype))


@pytest.mark.parametrize(
  'options',
  [
    dict(photometric='minisblack', planarconfig='separate'),
    dict(photometric='minisblack', metadata={'axes': 'CYX'}),
    dict(imagej=True, metadata={'axes': 'CYX'}),
    dict(ome=True, photometric='minisblack', metadata={'axes': 'CYX'}),
  ],
)
def test_planes_and_the_axis_c_are_channels(tmp_path, options):
  path = tmp_path / 'x.ome.tif'
  tifffile.imwrite(path, FIVE, **options)
  kind = find_kind([path])
  assert kind == ('uint16', (('', 5),), 'refuse')
  image = image_files.read_image(path, kind)
  np.testing.assert_array_equal(image, np.moveaxis(FIVE, 0, -1))


@pytest.mark.parametrize(('axes', 'name'), [('ZYX', 'slice'), ('TYX', 'frame')])
def test_slices_and_frames_are_refused_with_how_to_split_them(
  tmp_path, axes, name
):
  path = tmp_path / 'x.tif'
  tifffile.imwrite(path, FIVE, imagej=True, metadata={'axes': axes})
  message = rf'x\.tif: it has 5 {name}s.*each {name}.*x_0000\.tif and so on$'
  for pages in ('refuse', 'channels'):
    with pytest.raises(errors.InputError, match=message):
      find_kind([path], pages=pages)


def test_pages_without_metadata_are_channels_if_the_config_says_so(tmp_path):
  path = tmp_path / 'x.tif'
  tifffile.imwrite(path, FIVE, photometric='minisblack', metadata=None)
  with pytest.raises(errors.InputError, match='5 pages.*pages=channels'):
    find_kind([path])
  kind = find_kind([path], pages='channels')
  image = image_files.read_image(path, kind)
  np.testing.assert_array_equal(image, np.moveaxis(FIVE, 0, -1))


def test_alpha_of_16_bits_is_dropped_if_opaque(tmp_path):
  path, white = tmp_path / 'x.tif', np.full_like(DEEP, 65535)
  color = np.dstack([DEEP] * 3)
  tifffile.imwrite(path, np.dstack([color, white]), photometric='rgb')
  kind = find_kind([path])
  np.testing.assert_array_equal(image_files.read_image(path, kind), color)
  tifffile.imwrite(path, np.dstack([color, DEEP]), photometric='rgb')
  with pytest.raises(errors.InputError, match='transparent.*minisblack'):
    image_files.read_image(path, kind)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_a_tiff_is_turned_as_a_png_is(tmp_path, orientation, compression):
  exif = Image.Exif()
  exif[0x0112] = orientation
  expected = read(save(tmp_path / 'x.png', GREY, exif=exif), 1)
  path, tag = tmp_path / 'x.tif', [(0x0112, 3, 1, orientation, True)]
  for dtype in ('uint8', 'float32'):
    image = GREY.astype(dtype)
    tifffile.imwrite(path, image, extratags=tag, compression=compression)
    np.testing.assert_array_equal(read(path, 1, dtype), expected)


def test_a_compression_that_cannot_be_read_is_called_by_its_name(tmp_path):
  path = tmp_path / 'x.tif'
  save(path, DEEP.astype(np.int32), compression='tiff_lzw')
  with pytest.raises(errors.InputError, match=r'x\.tif: .*LZW.*imagecodecs'):
    read(path, 1, 'uint16')


@pytest.mark.parametrize('dtype', [np.int32, np.uint32, bool, np.complex64])
def test_values_of_another_type_are_refused(tmp_path, dtype):
  np.save(tmp_path / 'x.npy', GREY.astype(dtype))
  message = r'x\.npy: its values are .*one of uint8, uint16, int16, float32'
  with pytest.raises(errors.InputError, match=message):
    find_kind([tmp_path / 'x.npy'])


def test_arrays_are_images(tmp_path):
  path, image = tmp_path / 'x.npy', np.stack([FLOATS, -FLOATS], axis=-1)
  for array in (image, image.astype(np.float64), FLOATS):
    np.save(path, array)
    kind = find_kind([path])
    assert kind.dtype == 'float32'
    result = image_files.read_image(path, kind)
    np.testing.assert_array_equal(result, np.atleast_3d(array))
  np.save(path, np.zeros((5, 20, 30)))
  with pytest.raises(errors.InputError, match=r'np\.moveaxis\(image, 0, -1\)'):
    find_kind([path])
  np.save(path, np.zeros((20, 30, 17)))
  with pytest.raises(errors.InputError, match='at most 16 channels'):
    find_kind([path])


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_refused_by_name(tmp_path, value):
  image = FLOATS.copy()
  image[1, 2:4] = value
  tifffile.imwrite(tmp_path / 'x.tif', image)
  with pytest.raises(
    errors.InputError, match=r'x\.tif: 2 of its values are NaN'
  ):
    read(tmp_path / 'x.tif', 1, 'float32')


def test_8_bits_become_16_beside_16(tmp_path):
  deep = save(tmp_path / 'x.png', DEEP)
  color = save(tmp_path / 'y.png', COLOR)
  kind = find_kind([deep, color])
  assert kind == ('uint16', (('', 3),), 'refuse')
  image = image_files.read_image(color, kind)
  np.testing.assert_array_equal(image, COLOR.astype(int) * 257)
  _, notes = image_kinds.find_kind([deep, color, color])
  assert notes[0].startswith('2 files of 8 bits are read beside 1 of 16')
  assert image_kinds.find_kind([color]) == (image_kinds.RGB, [])
  assert find_kind([deep, color], bits='8').dtype == 'uint8'


def test_an_image_of_another_kind_than_most_is_named(tmp_path):
  deep, other = save(tmp_path / 'x.png', DEEP), tmp_path / 'y.npy'
  np.save(other, FLOATS)
  kind = find_kind([deep, other, deep])
  assert kind == ('uint16', (('', 1),), 'refuse')
  with pytest.raises(errors.InputError, match=r'y\.npy: .*float32.*uint16'):
    image_files.read_image(other, kind)
  np.save(other, np.dstack([DEEP] * 2))
  with pytest.raises(errors.InputError, match=r'y\.npy: it has 2 channels.* 1'):
    image_files.read_image(other, find_kind([other, deep, deep]))
  np.save(other, FLOATS)
  with pytest.raises(errors.InputError, match='values .* float32.*bits=stored'):
    find_kind([other], bits='8')


def test_grey_of_16_bits_is_the_luminance_of_pillow(tmp_path):
  color = save(tmp_path / 'x.png', COLOR)
  tifffile.imwrite(
    tmp_path / 'x.tif', COLOR.astype(np.uint16), photometric='rgb'
  )
  np.testing.assert_array_equal(
    read(tmp_path / 'x.tif', 1, 'uint16'), read(color, 1)
  )


def test_what_is_no_file_is_not_read(tmp_path):
  os.mkfifo(tmp_path / 'x.png')  # Reading it would wait for ever.
  os.mkfifo(tmp_path / 'x.npy')
  with pytest.raises(errors.InputError, match=r'x\.png: not a regular file'):
    read(tmp_path / 'x.png', 3)
  with pytest.raises(errors.InputError, match=r'x\.npy: not a regular file'):
    files.read_planes(tmp_path / 'x.npy')


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # Pillow warns of damaged files.
@pytest.mark.parametrize(
  'kind',
  ['PNG', 'JPEG', 'TIFF', 'GIF', 'WEBP', 'JPEG2000', 'AVIF', 'BMP', 'PPM'],
)
def test_changed_bytes_give_an_image_or_one_line(tmp_path, kind):
  rng = np.random.default_rng(0)
  path = save(tmp_path / 'x.png', COLOR.repeat(4, 0).repeat(4, 1), format=kind)
  content = path.read_bytes()
  for _ in range(300):
    changed = bytearray(content)
    for place in rng.integers(0, min(len(content), 300), 3):
      changed[place] = rng.integers(256)
    path.write_bytes(changed)
    text = f'{path}: '
    try:
      kind = find_kind([path])
      image = image_files.read_image(path, kind)
      assert image.dtype == kind.dtype
      stored.read(path)
      stored.read_image(path, kind)
    except errors.InputError as error:
      text = str(error)
    assert text.startswith(f'{path}: ')
    assert '\n' not in text


@pytest.mark.filterwarnings('ignore::UserWarning')  # Raised for torn TIFFs.
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.gif', '.ppm'])
def test_truncated_image_is_named_wherever_it_ends(tmp_path, suffix):
  noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
  path = save(tmp_path / f'torn{suffix}', noise)
  content = path.read_bytes()
  for end in (0, 5, 30, len(content) // 2, len(content) * 9 // 10):
    path.write_bytes(content[:end])
    with pytest.raises(errors.InputError, match='torn.*remove it'):
      read(path, 3)


def test_file_that_is_missing_or_no_image_is_named(tmp_path):
  path = tmp_path / 'x.png'
  with pytest.raises(errors.InputError, match=r'x\.png: no such file'):
    read(path, 3)
  path.write_text('not an image')
  with pytest.raises(errors.InputError, match=r'x\.png: not a readable'):
    read(path, 1)


def test_green_is_kept_of_color_and_grey_stays():
  image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
  green = image_files.keep_channels(image, 'green')
  np.testing.assert_array_equal(green, image[..., [1]])
  assert image_files.keep_channels(image, 'all') is image
  grey = image[..., :1]
  assert image_files.keep_channels(grey, 'green') is grey
  with pytest.raises(errors.InputError, match='green needs images of 3 chan'):
    image_files.keep_channels(np.dstack([image, grey]), 'green')

"""Decoding: values as stored, and faults named."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from unet_jax import errors
from unet_jax.data import files, stored

INDEX = np.array([[0, 1, 2, 1], [3, 0, 2, 2]], np.uint8)
GREY = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
COLOR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def save(path, array, mode=None, **options):
  image = Image.fromarray(array)
  (image if mode is None else image.convert(mode)).save(path, **options)
  return path


def save_palette(path, index):
  palette = Image.fromarray(index)
  palette.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30, 90, 90, 250])
  palette.save(path)
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
  image = files.read_image(path, 3)
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
    files.read_image(path, 3), color.astype(int), atol=12 if is_lossy else 0
  )


def test_the_content_decides_and_not_the_ending(tmp_path):
  path = save(tmp_path / 'x.jpg', COLOR, format='PNG')
  np.testing.assert_array_equal(files.read_image(path, 3), COLOR)
  for kind in ('EPS', 'PCX', 'TGA'):  # EPS would start Ghostscript.
    path = save(tmp_path / 'y.png', COLOR, format=kind)
    with pytest.raises(errors.InputError, match=r'y\.png: not a readable'):
      files.read_image(path, 3)


@pytest.mark.parametrize(
  ('suffix', 'count'), [('.tif', 8), ('.gif', 3), ('.webp', 2), ('.png', 2)]
)
def test_pages_are_refused_with_their_number(tmp_path, suffix, count):
  pages = [Image.fromarray(np.roll(GREY, i, axis=1)) for i in range(count)]
  path = tmp_path / f'stack{suffix}'
  pages[0].save(path, save_all=True, append_images=pages[1:])
  message = rf'stack\{suffix}: it has {count} pages.*stack_0000\{suffix}'
  with pytest.raises(errors.InputError, match=message):
    files.read_image(path, 3)


def test_a_preview_is_no_page(tmp_path):
  path = tmp_path / 'x.tif'
  page, preview = Image.fromarray(GREY), Image.fromarray(GREY[::2, ::2])
  preview.encoderinfo = {'tiffinfo': {254: 1}}  # A reduced copy.
  page.save(path, save_all=True, append_images=[preview])
  with Image.open(path) as image:
    assert image.n_frames == 2
  np.testing.assert_array_equal(files.read_image(path, 1)[..., 0], GREY)
  photo = tmp_path / 'x.jpg'
  page.save(photo, 'MPO', save_all=True, append_images=[preview], quality=100)
  np.testing.assert_allclose(
    files.read_image(photo, 1)[..., 0], GREY.astype(int), atol=3
  )


def save_tiff(path, array):
  """Writes [H, W, C] of any type as a TIFF, which Pillow cannot do."""
  height, width, channels = array.shape
  kind = {'u': 1, 'i': 2, 'f': 3}[array.dtype.kind]
  tags = [(256, width), (257, height), (258, 8 * array.itemsize), (259, 1)]
  tags += [(262, 1), (273, 4096), (277, channels), (278, height)]
  tags += [(279, array.nbytes), (339, kind)]
  entries = b''.join(struct.pack('<HHII', tag, 4, 1, x) for tag, x in tags)
  head = b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4)
  path.write_bytes(head.ljust(4096, b'\0') + array.tobytes())
  return path


@pytest.mark.parametrize(
  ('array', 'form'),
  [
    (GREY[..., None].astype(np.float64), '1 channel of floating-point.* 64'),
    (np.stack([GREY] * 5, axis=-1), '5 channels of whole numbers of 8 bits'),
  ],
)
def test_a_sound_tiff_that_cannot_be_read_is_called_by_its_form(
  tmp_path, array, form
):
  path = save_tiff(tmp_path / 'x.tif', array)
  with pytest.raises(errors.InputError, match=rf'x\.tif: a TIFF of {form}'):
    files.read_image(path, 3)


def test_a_fourth_channel_is_not_dropped(tmp_path):
  path = tmp_path / 'x.tif'
  planes = np.dstack([COLOR, GREY])
  Image.frombytes('RGBX', planes.shape[1::-1], planes.tobytes()).save(path)
  with pytest.raises(errors.InputError, match=r'x\.tif: it has 4 channels'):
    files.read_image(path, 3)


@pytest.mark.parametrize('suffix', ['.jpg', '.gif'])
def test_lossy_image_is_read_nearly(tmp_path, suffix):
  smooth = np.linspace(50, 200, 256).reshape(16, 16).astype(np.uint8)
  path = save(tmp_path / f'x{suffix}', smooth)
  np.testing.assert_allclose(
    files.read_image(path, 1)[..., 0], smooth.astype(int), atol=6
  )


def test_alpha_is_dropped_if_opaque_and_refused_if_it_hides_anything(tmp_path):
  opaque = np.dstack([COLOR, np.full_like(GREY, 255)])
  path = save(tmp_path / 'rgba.png', opaque)
  np.testing.assert_array_equal(files.read_image(path, 3), COLOR)
  opaque[0, 0, 3] = 254
  save(path, opaque)
  with pytest.raises(errors.InputError, match=r'rgba\.png: .*transparent'):
    files.read_image(path, 3)


def test_grey_becomes_three_channels(tmp_path):
  path = save(tmp_path / 'grey.png', GREY)
  np.testing.assert_array_equal(
    files.read_image(path, 3), np.stack([GREY] * 3, axis=-1)
  )
  np.testing.assert_array_equal(files.read_image(path, 1), GREY[..., None])


@pytest.mark.parametrize(
  ('orientation', 'turn'),
  [(1, 0), (3, 2), (6, 3), (8, 1)],
)
def test_image_is_turned_as_its_exif_says(tmp_path, orientation, turn):
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = save(tmp_path / 'x.png', COLOR, exif=exif)
  np.testing.assert_array_equal(
    files.read_image(path, 3), np.rot90(COLOR, turn)
  )


def test_images_are_grey_only_if_all_are(tmp_path):
  grey = save(tmp_path / 'grey.png', GREY)
  bits = save(tmp_path / 'bits.png', GREY > 100)
  color = save(tmp_path / 'color.png', COLOR)
  assert files.num_channels([grey, bits]) == 1
  assert files.num_channels([grey, bits, color]) == 3


DEEP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2849  # Up to 65527.


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_of_16_bits_grey_the_upper_8_are_kept(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', DEEP)
  assert files.num_channels([path]) == 1
  for channels in (1, 3):
    image = files.read_image(path, channels)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(
      image, np.stack([DEEP >> 8] * channels, axis=-1)
    )


def test_of_16_bits_color_the_upper_8_are_kept(tmp_path):
  row = np.arange(12, dtype=np.uint16) * 5957
  path = save_png(tmp_path / 'x.png', 16, 2, [row.astype('>u2').tobytes()], 4)
  np.testing.assert_array_equal(
    files.read_image(path, 3), (row >> 8).reshape(1, 4, 3)
  )
  path = tmp_path / 'x.ppm'
  path.write_bytes(b'P6 4 1 65535\n' + row.astype('>u2').tobytes())
  np.testing.assert_allclose(  # Pillow rounds here.
    files.read_image(path, 3), (row / 257).reshape(1, 4, 3), atol=0.5
  )


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_12_bits_in_16_are_refused_and_not_made_black(tmp_path, suffix):
  path = save(tmp_path / f'x{suffix}', DEEP >> 4)
  with pytest.raises(errors.InputError, match='16-bit.*4096.*0 to 65535'):
    files.read_image(path, 1)


def test_dark_frame_of_a_bright_set_is_read(tmp_path):
  dark = save(tmp_path / 'x.png', DEEP >> 4)
  bright = save(tmp_path / 'y.png', DEEP)
  (tmp_path / 'z.png').write_text('damaged')
  others = [dark, tmp_path / 'z.png', bright]
  image = files.read_image(dark, 1, lambda: files.has_bright(others))
  np.testing.assert_array_equal(image[..., 0], DEEP >> 12)
  with pytest.raises(errors.InputError, match='16-bit.*4096'):
    files.read_image(dark, 1, lambda: files.has_bright(others[:2]))


def test_values_that_are_no_brightness_are_refused(tmp_path):
  path = save(tmp_path / 'x.tif', GREY.astype(np.float32))
  with pytest.raises(errors.InputError, match=r'x\.tif: .*8 or 16 bits'):
    files.read_image(path, 3)
  path = save(tmp_path / 'y.tif', GREY.astype(np.int32))
  with pytest.raises(errors.InputError, match=r'y\.tif: .*8 or 16 bits'):
    files.read_image(path, 3)


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


def test_what_is_no_file_is_not_read(tmp_path):
  os.mkfifo(tmp_path / 'x.png')  # Reading it would wait for ever.
  os.mkfifo(tmp_path / 'x.npy')
  with pytest.raises(errors.InputError, match=r'x\.png: not a regular file'):
    files.read_image(tmp_path / 'x.png', 3)
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
      image = files.read_image(path, files.num_channels([path]))
      assert image.dtype == np.uint8
      stored.read(path)
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
      files.read_image(path, 3)


def test_file_that_is_missing_or_no_image_is_named(tmp_path):
  path = tmp_path / 'x.png'
  with pytest.raises(errors.InputError, match=r'x\.png: no such file'):
    files.read_image(path, 3)
  path.write_text('not an image')
  with pytest.raises(errors.InputError, match=r'x\.png: not a readable'):
    files.read_image(path, 1)


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


def test_green_is_kept_of_color_and_grey_stays():
  image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
  green = files.keep_channels(image, 'green')
  np.testing.assert_array_equal(green, image[..., [1]])
  assert files.keep_channels(image, 'all') is image
  grey = image[..., :1]
  assert files.keep_channels(grey, 'green') is grey

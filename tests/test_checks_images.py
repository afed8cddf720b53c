"""Planted faults of images and regions."""

import numpy as np
import pytest
from PIL import Image

from unet_jax.doctor import statistics
from unet_jax.doctor.checks import images

SPLITS = dict(train='abcdef', val='gh', test='ij')


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


def repaint(path, function):
  array = np.clip(function(read(path).astype(float)), 0, 255)
  Image.fromarray(array.astype(np.uint8)).save(path)


def draw_retina(rng, size):
  """Draws noise in a bright disc on black: uint8[S, S, 3], bool[S, S]."""
  y, x = np.mgrid[:size, :size] - size / 2 + 0.5
  disc = np.hypot(y, x) < 0.45 * size
  noise = rng.integers(90, 200, (size, size, 3))
  return np.where(disc[..., None], noise, 3).astype(np.uint8), disc


def test_images_of_one_row_or_column_are_examined(write_folder, diagnose):
  root = write_folder('abc')
  for name, size in zip('abc', ((1, 9), (9, 1), (1, 1)), strict=True):
    Image.new('RGB', size, (99, 99, 99)).save(root / f'images/{name}.png')
    Image.new('L', size, 255).save(root / f'masks/{name}.png')
  severities = {x.title: x.severity for x in diagnose(root).values()}
  assert 'error' not in severities.values()
  assert severities['constant image'] == 'warning'


@pytest.fixture
def write_retinas(write_folder):
  """Returns a folder of 5 retinas, with a square of vessels in the middle."""
  root = write_folder('abcde', size=(96, 96))
  for i, path in enumerate(sorted((root / 'images').iterdir())):
    image, _ = draw_retina(np.random.default_rng(i), 96)
    Image.fromarray(image).save(path)
    mask = np.zeros((96, 96), np.uint8)
    mask[40:60, 40 : 60 + i] = 255
    Image.fromarray(mask).save(root / 'masks' / path.name)
  return root


def test_constant_and_near_black_images_are_distinguished(
  write_folder, diagnose
):
  root = write_folder()
  repaint(root / 'images/b.png', lambda x: 0 * x + 77)
  repaint(root / 'images/c.png', lambda x: x / 40)
  findings = diagnose(root)
  assert findings['constant image'].files == (str(root / 'images/b.png'),)
  assert findings['near-black image'].files == (str(root / 'images/c.png'),)
  assert findings['near-black image'].severity == 'warning'


def test_nan_is_found(write_folder, diagnose):
  root = write_folder()
  array = np.random.default_rng(0).random((40, 48)).astype(np.float32)
  array[3, 4] = np.nan
  (root / 'images/b.png').unlink()
  Image.fromarray(array).save(root / 'images/b.tif')
  finding = diagnose(root)['NaN in image']
  assert finding.severity == 'error'
  assert finding.files == (str(root / 'images/b.tif'),)


def test_0_to_1_beside_0_to_255_is_found(write_folder, diagnose):
  root = write_folder()
  repaint(root / 'images/d.png', lambda x: x > 128)
  finding = diagnose(root)['mixed ranges']
  assert finding.severity == 'error'
  assert '3 of 0 to 255 beside 1 of 0 to 1' in finding.text
  assert finding.files == (str(root / 'images/d.png'),)


def test_16_bits_beside_8_are_found(write_folder, diagnose):
  root = write_folder()
  deep = np.random.default_rng(0).integers(0, 2**16, (40, 48), np.uint16)
  Image.fromarray(deep).save(root / 'images/a.png')
  finding = diagnose(root)['mixed ranges']
  assert finding.severity == 'warning'
  assert '1 of 0 to 65535' in finding.text


def test_grey_beside_color_is_a_note(write_folder, diagnose):
  root = write_folder()
  path = root / 'images/a.png'
  Image.fromarray(read(path)[..., 0]).save(path)
  findings = diagnose(root)
  assert findings['mixed channels'].severity == 'note'
  assert '3 of RGB beside 1 of L' in findings['mixed channels'].text


def test_a_split_of_another_color_is_found(write_folder, diagnose):
  names = [f'{i:02d}' for i in range(24)]
  root = write_folder(names, train=names[:12], val=names[12:])
  rng = np.random.default_rng(0)
  for path in (root / 'images').iterdir():
    tint = rng.normal(0, 8, 3) - [0, 60 * (path.stem >= '12'), 0]
    repaint(path, lambda x, tint=tint: 100 + x / 10 + tint)
  finding = diagnose(root)['colour shift']
  assert finding.severity == 'warning'
  assert 'val images differ from those of train: green' in finding.text
  (root / 'train.txt').write_text('\n'.join(names[::2]))
  (root / 'val.txt').write_text('\n'.join(names[1::2]))
  assert 'colour shift' not in diagnose(root)


def test_look_has_the_figures_that_numpy_has():
  image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
  look = statistics.look_at(image)
  assert (look.low, look.high, look.full) == (0, 255, 255)
  np.testing.assert_allclose(look.mean, image.mean((0, 1)), atol=0.5)
  blocks = image.mean(-1).reshape(16, 4, 16, 5).mean((1, 3))
  np.testing.assert_allclose(look.thumb, blocks, atol=1)


def test_foreground_on_the_black_frame_is_found(write_retinas, diagnose):
  assert 'outside the view' not in diagnose(write_retinas)
  path = write_retinas / 'masks/c.png'
  repaint(path, lambda mask: np.roll(mask, -38, axis=(0, 1)))
  findings = diagnose(write_retinas)
  assert findings['outside the view'].severity == 'warning'
  assert findings['outside the view'].files == (
    str(write_retinas / 'images/c.png'),
  )
  assert findings['outside the view'].settings == {'data.fov': 'estimate'}
  assert 'outside the view' not in diagnose(write_retinas, fov='estimate')


def test_overlaps_are_counted_under_multiclass(write_folder, diagnose):
  root = write_folder('abcdef', 'folders')
  both = [
    (read(root / f'GT/a/{name}.png') > 0)
    & (read(root / f'GT/b/{name}.png') > 0)
    for name in 'abcdef'
  ]
  overlap = np.sum(both)
  finding = diagnose(root, 'folders', ('a', 'b'))['overlapping classes']
  assert finding.severity == 'warning'
  assert finding.number == overlap > 0
  assert finding.settings == {'task': 'multilabel'}
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel')
  assert 'overlapping classes' not in findings
  assert 'no overlaps' not in findings


def test_planes_that_never_overlap_are_a_note(write_folder, diagnose):
  root = write_folder('abcdef', 'folders')
  for name in 'abcdef':
    plane = read(root / f'GT/a/{name}.png')
    Image.fromarray(255 - plane).save(root / f'GT/b/{name}.png')
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel')
  assert findings['no overlaps'].severity == 'note'
  assert findings['no overlaps'].settings == {'task': 'multiclass'}


def test_what_resizing_loses_is_counted_and_a_size_that_keeps_it_named(
  write_folder, diagnose
):
  root = write_folder(size=(96, 192))
  mask = np.zeros((96, 192), np.uint8)
  mask[10:40, 10:40] = 255
  mask[60, 60:68] = 255  # 8 pixels: 2 at half the size, 1.1 at a third.
  mask[80:82, 100] = 255  # 2 pixels: only the full size keeps them.
  for path in (root / 'masks').iterdir():
    Image.fromarray(mask).save(path)
  finding = diagnose(root, resize=96)['vanishing components']
  assert finding.severity == 'warning'
  assert '4 of 12 of a' in finding.text
  assert finding.settings == {'data.resize': 192}
  assert (
    '8 of 12 of a' in diagnose(root, resize=64)['vanishing components'].text
  )
  assert 'vanishing components' not in diagnose(root)


def test_images_smaller_than_the_crop_are_a_note(write_folder, diagnose):
  root = write_folder('abcdef', size=(24, 40), train='abcd', val='ef')
  finding = diagnose(root)['small images']
  assert finding.severity == 'note'
  assert finding.number == 4
  assert 'down to 24' in finding.text


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_range_of_a_look_goes_by_its_type(dtype):
  image = np.linspace(0, 1, 400).reshape(20, 20)
  top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
  look = statistics.look_at((top * image).astype(dtype))
  assert images._range(look) == f'0 to {top}'


def test_values_of_a_photograph_are_not_all_kept():
  noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
  noise[:9, :9] = (1, 2, 3)
  values = statistics.value_counts(noise)
  assert len(values) == statistics.MAX_VALUES
  assert values['#010203'] == 81


def test_values_of_a_mask_are_numpys():
  mask = np.random.default_rng(0).integers(3, 9, (20, 30), np.uint8)
  for dtype in (np.uint8, np.uint16, np.int32):
    values = statistics.value_counts(mask.astype(dtype))
    expected = dict(zip(*np.unique(mask, return_counts=True), strict=True))
    assert values == expected


def save_deep(root, name, function, channels=1):
  """Saves an image of 12 bits in place of another."""
  noise = np.random.default_rng(0).random((40, 48, channels))
  (root / f'images/{name}.png').unlink(missing_ok=True)
  np.save(root / f'images/{name}.npy', function(noise).astype(np.uint16))


def test_12_bits_are_not_nearly_black_and_a_dark_frame_is(
  write_folder, diagnose
):
  root = write_folder()
  for name in 'abcd':
    save_deep(root, name, lambda x: 4095 * x)
  assert 'near-black image' not in diagnose(root)
  save_deep(root, 'b', lambda x: 150 * x)
  findings = diagnose(root)
  assert findings['near-black image'].files == (str(root / 'images/b.npy'),)
  assert findings['another scale'].files == (str(root / 'images/b.npy'),)
  assert findings['another scale'].severity == 'warning'
  assert findings['another scale'].settings == {'data.normalise': 'image'}


def test_a_constant_channel_is_found(write_folder, diagnose):
  root = write_folder()
  for name in 'abcd':
    save_deep(root, name, lambda x: 4095 * x, channels=4)
  assert 'constant channel' not in diagnose(root)
  save_deep(root, 'c', lambda x: 4095 * x * [1, 1, 0, 1], channels=4)
  finding = diagnose(root)['constant channel']
  assert finding.files == (str(root / 'images/c.npy'),)
  assert '(2, counted from 0)' in finding.text


def test_saturated_images_are_a_note(write_folder, diagnose):
  root = write_folder()
  assert 'saturated image' not in diagnose(root)
  repaint(root / 'images/b.png', lambda x: np.where(x > 200, 255, x))
  finding = diagnose(root)['saturated image']
  assert (finding.severity, finding.number) == ('note', 1)
  assert finding.files == (str(root / 'images/b.png'),)

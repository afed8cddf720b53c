"""Folders of images and masks."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image
from settings import set_data

from unet_jax import errors
from unet_jax.data import folder, spec


@pytest.fixture
def open_folder(load_config):
  """Returns (root, mask, classes, merge, threshold) -> layout."""

  def open_with(root, mask='binary', classes=('a',), merge=None, **settings):
    config = load_config('binary:folder')
    set_data(config, root=str(root), mask=mask, classes=classes)
    set_data(config, merge=merge or {}, **settings)
    return folder.open_folder(spec.read(config))

  return open_with


def read_png(path):
  with Image.open(path) as image:
    return np.asarray(image)


def test_masks_folder_gives_images_and_masks_by_name(write_folder, open_folder):
  root = write_folder()
  opened = open_folder(root)
  assert opened.keys == {'all': ['a', 'b', 'c', 'd']}
  assert opened.classes == ('a',)
  assert opened.root == str(root)
  for name in 'abcd':
    raw = opened.read(name)
    assert raw.name == name
    assert raw.where == str(root / 'masks' / f'{name}.png')
    image = read_png(root / 'images' / f'{name}.png')
    np.testing.assert_array_equal(raw.image, image)
    np.testing.assert_array_equal(raw.mask, read_png(raw.where))


def test_root_may_be_relative(write_folder, open_folder, monkeypatch):
  root = write_folder()
  monkeypatch.chdir(root.parent)
  assert open_folder('folder').root == str(root)


def test_gt_folders_give_planes_and_classes(write_folder, open_folder):
  root = write_folder(mask='folders')
  opened = open_folder(root, 'folders', classes=())
  assert opened.classes == ('a', 'b')
  planes = opened.read('c').mask
  for name in 'ab':
    stored = read_png(root / 'GT' / name / 'c.png')
    np.testing.assert_array_equal(planes[name], stored)


def test_one_bit_gt_mask_needs_no_threshold(write_folder, open_folder):
  root = write_folder(mask='folders')
  path = root / 'GT' / 'a' / 'a.png'
  plane = read_png(path) == 255
  Image.fromarray(plane).save(path)
  mask = open_folder(root, 'folders').read('a').mask['a']
  np.testing.assert_array_equal(mask, plane)


def test_merged_classes_read_the_folders_they_are_made_of(
  write_folder, open_folder
):
  root = write_folder(mask='folders')
  opened = open_folder(root, 'folders', ('c',), {'c': ('a', 'b')})
  assert opened.classes == ('c',)
  assert set(opened.read('a').mask) == {'a', 'b'}


def test_classes_file_names_the_foreground(write_folder, open_folder):
  root = write_folder(mask='index')
  (root / 'classes.txt').write_text('background\ncat\n\ndog\n', 'utf-8-sig')
  assert open_folder(root, 'index', classes=()).classes == ('cat', 'dog')
  assert open_folder(root, 'index', classes=('x',)).classes == ('x',)


@pytest.mark.parametrize(
  'lines',
  [
    'Background\ncat\ndog',
    '_background_\ncat\ndog',
    '__ignore__\n_background_\ncat\ndog',
    'cat\ndog',
  ],
)
def test_background_in_any_spelling_is_no_class(
  write_folder, open_folder, lines
):
  root = write_folder(mask='index')
  (root / 'classes.txt').write_text(lines)
  assert open_folder(root, 'index', classes=()).classes == ('cat', 'dog')


def test_background_that_is_not_the_first_is_refused(write_folder, open_folder):
  root = write_folder(mask='index')
  (root / 'classes.txt').write_text('cat\nBackground\ndog\n')
  with pytest.raises(errors.InputError, match='Background is not the first'):
    open_folder(root, 'index', classes=())


def test_without_class_names_the_remedy_is_reported(write_folder, open_folder):
  root = write_folder(mask='index')
  with pytest.raises(errors.InputError, match=r'classes\.txt.*config'):
    open_folder(root, 'index', classes=())


def test_lists_choose_the_images(write_folder, open_folder):
  root = write_folder(train='ca', test='b')
  (root / 'masks' / 'd.png').unlink()  # Not listed, so not missed.
  opened = open_folder(root)
  assert opened.keys == {'train': ['c', 'a'], 'test': ['b']}


def test_images_of_different_sizes_and_kinds_come_as_they_are(
  write_folder, open_folder
):
  root = write_folder()
  grey = np.full((50, 30), 9, np.uint8)
  (root / 'images' / 'a.png').unlink()
  Image.fromarray(grey).save(root / 'images' / 'a.gif')
  Image.fromarray(255 * (grey // 9)).save(root / 'masks' / 'a.png')
  opened = open_folder(root)
  np.testing.assert_array_equal(
    opened.read('a').image, np.full((50, 30, 3), 9, np.uint8)
  )
  assert opened.read('b').image.shape == (40, 48, 3)


def test_grey_images_have_one_channel(write_folder, open_folder):
  root = write_folder()
  for path in (root / 'images').iterdir():
    Image.fromarray(read_png(path)[..., 0]).save(path)
  assert open_folder(root).read('a').image.shape == (40, 48, 1)


def test_mask_of_another_size_is_named_with_both_sizes(
  write_folder, open_folder
):
  root = write_folder()
  Image.new('L', (47, 40)).save(root / 'masks' / 'b.png')
  message = r'masks/b\.png 47x40, image 48x40; export both again'
  with pytest.raises(errors.InputError, match=message):
    open_folder(root).read('b')


@pytest.mark.parametrize(
  ('mask', 'removed', 'message'),
  [
    ('binary', 'masks/b.png', r'images/b\.png: .*without a mask in masks: b'),
    ('folders', 'GT/a/b.png', r'images/b\.png: .*without a mask in a: b'),
    ('binary', 'images/b.png', r'masks/b\.png: .*without an image: b'),
    ('folders', 'images/b.png', r'GT/a/b\.png: .*without an image: b'),
  ],
)
def test_image_without_mask_and_the_reverse_are_named(
  write_folder, open_folder, mask, removed, message
):
  root = write_folder(mask=mask)
  (root / removed).unlink()
  with pytest.raises(errors.InputError, match=message):
    open_folder(root, mask)


def test_empty_list_and_missing_train_list_are_named(write_folder, open_folder):
  root = write_folder(val='a')
  with pytest.raises(errors.InputError, match=r'val\.txt but no train\.tx'):
    open_folder(root)
  (root / 'train.txt').write_text('\n \n')
  with pytest.raises(errors.InputError, match=r'train\.txt is empty; list'):
    open_folder(root)


def test_listed_image_without_mask_is_named(write_folder, open_folder):
  root = write_folder(train='ab')
  (root / 'masks' / 'b.png').unlink()
  with pytest.raises(
    errors.InputError, match=r'images/b\.png: .*without a mask'
  ):
    open_folder(root)


@pytest.mark.parametrize('name', ['nobody', 'a.png'])
def test_listed_name_without_a_file_is_named(write_folder, open_folder, name):
  root = write_folder(train=['a'], val=[name])
  message = rf'val\.txt names 1 .*the folder images lacks: {name}'
  with pytest.raises(errors.InputError, match=message):
    open_folder(root)


def test_names_are_the_same_in_every_form_of_unicode(write_folder, open_folder):
  names = {form: unicodedata.normalize(form, 'é') for form in ('NFC', 'NFD')}
  root = write_folder(['a', names['NFD']])
  for suffix in ('', '_mask'):
    for path in [*(root / 'masks').iterdir()]:
      name = unicodedata.normalize('NFC', path.stem)
      path.rename(root / 'masks' / f'{name}{suffix}.png')
    (root / 'train.txt').write_text(names['NFC'], 'utf-8')
    assert open_folder(root).keys == {'train': [names['NFD']]}
    open_folder(root).read(names['NFD'])


@pytest.mark.parametrize('form', ['NFC', 'NFD'])
def test_classes_are_the_same_in_every_form_of_unicode(
  write_folder, open_folder, form
):
  root = write_folder(mask='folders')
  (root / 'GT/a').rename(root / 'GT' / unicodedata.normalize('NFD', 'ä'))
  name = unicodedata.normalize(form, 'ä')
  mask = open_folder(root, 'folders', ('b', name)).read('c').mask
  assert list(mask) == ['b', name]
  mask = open_folder(root, 'folders', ('x',), {'x': ('b', name)}).read('c').mask
  assert list(mask) == ['b', name]


def test_hidden_folders_are_no_classes(write_folder, open_folder):
  root = write_folder(mask='folders')
  (root / 'GT/.ipynb_checkpoints').mkdir()
  assert open_folder(root, 'folders', classes=()).classes == ('a', 'b')


def test_files_that_are_left_out_are_listed(write_folder, open_folder):
  root = write_folder()
  assert open_folder(root).notes == ()
  old = (root / 'images/a.png').read_bytes()
  for name in ('x.heic', 'a.bmp', 'b.json', '.hidden.heic', 'Thumbs.db'):
    (root / 'images' / name).touch()
  os.mkfifo(root / 'images/pipe.png')
  (note,) = open_folder(root).notes
  assert note.startswith(f'3 files in {root}/images left out (')
  assert ': a.bmp, pipe.png, x.heic; save what is needed as .png' in note
  assert (root / 'images/a.png').read_bytes() == old
  np.testing.assert_array_equal(
    open_folder(root).read('a').image, read_png(root / 'images/a.png')
  )


def test_files_in_folders_below_are_not_called_missing(
  write_folder, open_folder
):
  root = write_folder()
  (root / 'images').rename(root / 'p1')
  (root / 'images').mkdir()
  (root / 'p1').rename(root / 'images/p1')
  with pytest.raises(errors.InputError, match=r'only folders .* \(p1\)'):
    open_folder(root)


@pytest.mark.parametrize('name', [b'caf\xe9.png', b'\x1b[31mred.png'])
def test_name_that_cannot_be_shown_is_refused(write_folder, open_folder, name):
  root = write_folder()
  path = os.fsencode(root / 'images') + b'/' + name
  os.rename(root / 'images/a.png', path)
  with pytest.raises(errors.InputError, match='rename it') as caught:
    open_folder(root)
  assert str(caught.value).isascii()
  assert str(caught.value).isprintable()


def test_dark_frame_and_wide_masks_of_a_set_are_read(write_folder, open_folder):
  root = write_folder()
  for i, path in enumerate(sorted((root / 'images').iterdir())):
    grey = read_png(path)[..., 0].astype(np.uint16)
    Image.fromarray(grey * (3 if i == 1 else 257)).save(path)
  masks = {}
  for i, path in enumerate(sorted((root / 'masks').iterdir())):
    masks[path.stem] = read_png(path)
    dtype = np.uint8 if i % 2 else np.uint16
    Image.fromarray(masks[path.stem].astype(dtype)).save(path)
  opened, narrow = open_folder(root), open_folder(root, bits='8')
  for name, mask in masks.items():
    np.testing.assert_array_equal(opened.read(name).mask, mask)
  assert opened.read('a').image.max() == 65535
  assert opened.read('b').image.max() == 255 * 3
  assert narrow.read('a').image.max() == 255
  assert narrow.read('b').image.max() == 255 * 3 // 256


def test_images_of_a_folder_are_found_by_name_and_nothing_else(tmp_path):
  names = ('a.jpeg', 'b.PNG', 'c.d.ppm')
  for name in (*names, '.hidden.png', 'notes.txt'):
    (tmp_path / name).touch()
  assert folder.find_images(tmp_path) == [tmp_path / name for name in names]


def test_two_images_of_a_name_and_folders_without_images_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match='has no file'):
    folder.find_images(tmp_path)
  with pytest.raises(errors.InputError, match='nowhere: no such folder'):
    folder.find_images(tmp_path / 'nowhere')
  (tmp_path / 'a.png').touch()
  (tmp_path / 'a.jpg').touch()
  with pytest.raises(errors.InputError, match=r'a\.jpg and a\.png'):
    folder.find_images(tmp_path)


@pytest.mark.parametrize(
  ('root', 'message'),
  [('', 'root is empty.*--config.data.root=DIR'), ('/no/where', '/no/where')],
)
def test_root_that_is_missing_is_named(open_folder, root, message):
  with pytest.raises(errors.InputError, match=message):
    open_folder(root)


def test_folder_without_images_or_masks_is_named(write_folder, open_folder):
  root = write_folder()
  with pytest.raises(errors.InputError, match='GT has no folder a .*none'):
    open_folder(root, 'folders')
  (root / 'masks').rename(root / 'labels')
  with pytest.raises(errors.InputError, match='masks: no such folder'):
    open_folder(root)
  (root / 'images').rename(root / 'pictures')
  with pytest.raises(errors.InputError, match='images: no such folder'):
    open_folder(root)


def test_wrong_encoding_is_detected_by_the_folders(write_folder, open_folder):
  root = write_folder(mask='folders')
  with pytest.raises(errors.InputError, match='data.masks.kind=folders'):
    open_folder(root, 'binary')
  message = r'GT has no folder c \(it has: a, b\).*config\.data\.classes'
  with pytest.raises(errors.InputError, match=message):
    open_folder(root, 'folders', classes=('c',))

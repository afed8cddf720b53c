"""Planted faults of files, and the findings that the doctor reports."""

import numpy as np
import pytest
import test_layouts
from PIL import Image

from unet_jax import errors
from unet_jax.data import sources, spec
from unet_jax.data.checks.finding import mend
from unet_jax.doctor import diagnosis, survey

SPLITS = dict(train='abcdef', val='gh', test='ij')


def turn(path, orientation):
  """Marks a file as turned, as a camera does; returns its pixels."""
  with Image.open(path) as image:
    exif = image.getexif()
    exif[0x0112] = orientation
    pixels = np.asarray(image)
    image.save(path, exif=exif)
  return pixels


@pytest.mark.parametrize('mask', ['binary', 'folders'])
def test_clean_data_gives_no_warning(write_folder, diagnose, mask):
  root = write_folder('abcdefghij', mask, **SPLITS)
  classes = ('a',) if mask == 'binary' else ('a', 'b')
  task = 'multilabel' if mask == 'folders' else ''
  findings = diagnose(root, mask, classes, task)
  assert {finding.severity for finding in findings.values()} <= {'note'}


@pytest.mark.parametrize('kind', test_layouts.LAYOUTS)
def test_every_layout_passes_without_error(diagnose, tmp_path, kind):
  write, data = test_layouts.LAYOUTS[kind]
  for i in range(9):
    image, label = test_layouts.draw(i)
    test_layouts.save(tmp_path / f'images/im{i}.png', image)
    write(tmp_path, f'im{i}', label)
  data = dict(task='multiclass', classes='ab', train='im0-im7') | data
  if data['task'] == 'binary':
    data['classes'] = 'a'
  findings = diagnose(tmp_path, **data | {'classes': tuple(data['classes'])})
  assert [x for x in findings.values() if x.severity == 'error'] == []
  assert 'agreement levels' in findings or kind != 'grades'


@pytest.mark.parametrize('name', ['binary', 'multiclass', 'multilabel'])
def test_embedded_set_is_read_and_has_no_error(load_config, fundus_root, name):
  config = load_config(name, **{'data.root': fundus_root})
  surveyed = survey.take(config)
  assert len(surveyed.records) == 55
  assert all(record.label_stats for record in surveyed.records)
  findings = diagnosis.diagnose(surveyed, num_devices=4)
  assert not diagnosis.has_errors(findings)
  titles = {x.title for x in findings if x.severity == 'warning'}
  # Merged classes are exclusive, so an overlap is a warning.
  assert titles <= ({'overlapping classes'} if name == 'multiclass' else set())


def test_a_class_folder_without_a_mask_is_left_out(write_folder, diagnose):
  root = write_folder('abcdefghij', 'folders', **SPLITS)
  (root / 'GT/c').mkdir()
  (root / 'GT/d').mkdir()
  findings = diagnose(root, 'folders', (), 'multilabel')
  finding = findings['empty folder']
  assert finding.severity == 'error'
  assert finding.settings == {'data.classes': ('a', 'b')}
  assert mend(finding).endswith(""": --config.data.classes="('a', 'b')\"""")
  assert 'image without mask' not in findings
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel')
  assert {finding.severity for finding in findings.values()} <= {'note'}


def test_image_without_mask_is_an_error_with_the_nearest_name(
  write_folder, diagnose
):
  root = write_folder(['left_01', 'left_02', 'right_03'])
  (root / 'masks/left_02.png').rename(root / 'masks/left_O2.png')
  findings = diagnose(root)
  finding = findings['image without mask']
  assert finding.severity == 'error'
  assert finding.number == 1
  assert finding.files == (str(root / 'images/left_02.png'),)
  assert 'left_02 (nearest: left_O2)' in finding.text
  orphan = findings['mask without image']
  assert orphan.severity == 'error'
  assert orphan.files == (str(root / 'masks/left_O2.png'),)


def test_missing_mask_file_may_mean_absent(write_folder, diagnose):
  root = write_folder()
  (root / 'masks/b.png').unlink()
  finding = diagnose(root)['image without mask']
  assert '--config.data.masks.missing=absent' in finding.remedy
  assert 'image without mask' not in diagnose(root, missing='absent')


def test_spare_mask_is_only_a_note_where_lists_choose(write_folder, diagnose):
  root = write_folder('abcdef', train='abc', val='d')
  (root / 'images/f.png').unlink()
  assert diagnose(root)['mask without image'].severity == 'note'


def test_two_files_of_one_name_are_ambiguous(write_folder, diagnose):
  root = write_folder()
  Image.new('RGB', (48, 40)).save(root / 'images/b.jpg')
  finding = diagnose(root)['ambiguous pair']
  assert finding.severity == 'error'
  assert 'b.jpg and b.png' in finding.text


def test_lists_are_checked_against_the_files(write_folder, diagnose):
  lists = dict(train=['a', 'b', 'bee'], val=['b', 'c'], test=[])
  root = write_folder('abcd', **lists)
  findings = diagnose(root)
  assert 'bee' in findings['listed without file'].text
  assert 'b in train and val' in findings['listed twice'].text
  assert 'test.txt is empty' in findings['empty list'].text
  assert findings['unlisted images'].severity == 'note'
  assert findings['unlisted images'].files == (str(root / 'images/d.png'),)


def test_size_mismatch_names_both_sizes(write_folder, diagnose):
  root = write_folder()
  Image.new('L', (47, 40)).save(root / 'masks/b.png')
  finding = diagnose(root)['size mismatch']
  assert finding.severity == 'error'
  assert 'b.png 47x40, image 48x40' in finding.text
  assert finding.files == (str(root / 'masks/b.png'),)


def test_transposed_masks_are_distinguished_from_other_sizes(
  write_folder, diagnose
):
  root = write_folder()
  path = root / 'masks/c.png'
  with Image.open(path) as image:
    transposed = np.asarray(image).T
  Image.fromarray(transposed).save(path)
  findings = diagnose(root)
  assert findings['transposed mask'].files == (str(path),)
  assert 'size mismatch' not in findings


def test_exif_rotation_that_masks_do_not_follow_is_an_error(
  write_folder, diagnose
):
  root = write_folder()
  turn(root / 'images/b.png', 6)
  findings = diagnose(root)
  assert findings['EXIF rotation'].severity == 'error'
  assert findings['EXIF rotation'].files == (str(root / 'images/b.png'),)
  assert 'transposed mask' not in findings  # It is reported once.


def test_exif_rotation_that_masks_follow_is_a_note(write_folder, diagnose):
  root = write_folder()
  turn(root / 'images/b.png', 6)
  with Image.open(root / 'masks/b.png') as image:
    mask = np.asarray(image)
  Image.fromarray(np.rot90(mask, -1)).save(root / 'masks/b.png')
  findings = diagnose(root)
  assert findings['EXIF rotation'].severity == 'note'
  assert not any(x.severity == 'error' for x in findings.values())


def test_exif_rotation_by_half_a_turn_is_a_warning(write_folder, diagnose):
  root = write_folder()
  turn(root / 'images/b.png', 3)
  assert diagnose(root)['EXIF rotation'].severity == 'warning'


@pytest.mark.parametrize('folder', ['images', 'masks'])
def test_damaged_file_is_found_and_the_rest_is_read(
  write_folder, diagnose, folder
):
  root = write_folder()
  path = root / folder / 'b.png'
  path.write_bytes(path.read_bytes()[:-40])
  findings = diagnose(root)
  assert findings['unreadable file'].severity == 'error'
  assert findings['unreadable file'].files == (str(path),)
  assert 'refused' not in findings  # It is reported once.


def plant(fault, root):
  """Plants one fault in a folder of a, b, c and d."""
  if fault == 'image without mask':
    (root / 'masks/b.png').unlink()
  elif fault == 'mask without image':
    (root / 'images/b.png').unlink()
  elif fault == 'ambiguous pair':
    Image.new('RGB', (48, 40)).save(root / 'images/b.jpg')
  elif fault == 'empty list':
    (root / 'train.txt').write_text('')
  elif fault == 'no train list':
    (root / 'val.txt').write_text('a')
  elif fault == 'listed without file':
    (root / 'train.txt').write_text('a\nzebra')
  elif fault == 'listed twice':
    (root / 'train.txt').write_text('a\na')
  elif fault == 'size mismatch':
    Image.new('L', (47, 40)).save(root / 'masks/b.png')
  elif fault == 'transposed mask':
    Image.new('L', (40, 48)).save(root / 'masks/b.png')
  elif fault == 'EXIF rotation':
    turn(root / 'images/b.png', 6)
  elif fault == 'empty folder':
    for path in (root / 'masks').iterdir():
      path.unlink()
  elif fault == 'no folder':
    (root / 'images').rename(root / 'pictures')
  elif fault == 'absent class':
    (root / 'train.txt').write_text('a\nb\nc\nd')
    for path in (root / 'masks').iterdir():
      Image.new('L', (48, 40)).save(path)


@pytest.mark.parametrize(
  'fault',
  [
    *('image without mask', 'mask without image', 'ambiguous pair'),
    *('empty list', 'no train list', 'listed without file', 'listed twice'),
    *('size mismatch', 'transposed mask', 'EXIF rotation'),
    *('empty folder', 'no folder', 'absent class'),
  ],
)
def test_training_refuses_in_the_doctor_s_words(
  write_folder, diagnose, load_config, fault
):
  root = write_folder()
  plant(fault, root)
  finding = diagnose(root)[fault]
  assert finding.severity == 'error'
  wanted = spec.read(load_config('binary:folder', **{'data.root': str(root)}))
  wanted = wanted._replace(classes=('a',))
  with pytest.raises(errors.InputError) as caught:
    sources.load(wanted, sources.open_layout(wanted))
  assert finding.text in str(caught.value)
  assert mend(finding) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_image_without_a_field_of_view_is_an_error(write_folder, diagnose):
  root = write_folder()
  (root / 'fov').mkdir()
  for name in 'abc':
    Image.new('L', (48, 40), 255).save(root / f'fov/{name}.png')
  finding = diagnose(root, fov='fov')['image without field of view']
  assert finding.files == (str(root / 'images/d.png'),)
  assert mend(finding).endswith('--config.data.fov=estimate')
  Image.new('L', (48, 40), 255).save(root / 'fov/d.png')
  assert 'image without field of view' not in diagnose(root, fov='fov')


def test_what_no_check_explains_is_still_an_error(write_folder, diagnose):
  root = write_folder()
  with Image.open(root / 'images/b.png') as image:
    image.putalpha(Image.new('L', (48, 40), 99))
    image.save(root / 'images/b.png')
  finding = diagnose(root)['refused']
  assert finding.severity == 'error'
  assert 'b.png: some of its pixels are transparent' in finding.text


def test_a_set_that_does_not_open_says_why(write_folder, diagnose):
  root = write_folder(mask='index')
  text = diagnose(root, 'index', ())['set refused'].text
  assert 'no class names' in text
  assert 'the first 4 masks hold 0, 1, 2: ' in text
  assert text.endswith('for instance --config.data.classes=class_1,class_2')


@pytest.mark.parametrize(
  ('mask', 'part'),
  [('binary', 'hold 0, 255: use --config binary:folder'), ('folders', 'GT')],
)
def test_masks_without_names_say_which_kind_they_are(
  write_folder, diagnose, mask, part
):
  findings = diagnose(write_folder(mask=mask), 'index', ())
  assert any(part in finding.text for finding in findings.values())

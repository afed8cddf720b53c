"""Planted faults of mask values, and the config that is proposed."""

import numpy as np
import pytest
from PIL import Image
from settings import set_data

from unet_jax.data import sources, spec
from unet_jax.doctor.checks import meanings


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


def recode(folder, function):
  """Rewrites each mask of a folder as `function` of its values."""
  for path in sorted(folder.iterdir()):
    Image.fromarray(function(read(path))).save(path)


@pytest.fixture
def load_proposed(load_config):
  """Returns (root, settings) -> the data set, read with these settings."""

  def load(root, settings, mask='binary', classes=('a',)):
    config = load_config('binary:folder')
    with config.unlocked():
      config.task = 'binary' if len(classes) == 1 else 'multiclass'
      set_data(config, root=str(root), mask=mask, classes=classes)
      for key, value in settings.items():
        group, _, name = key.rpartition('.')
        (config[group] if group else config)[name] = value
    wanted = spec.read(config)
    return sources.load(wanted, sources.open_layout(wanted))

  return load


def labels(dataset):
  """Returns {name: label} of all splits."""
  return {
    example['name']: example['label']
    for split in dataset.splits.values()
    for example in split
  }


@pytest.mark.parametrize(
  ('mask', 'classes', 'recoded', 'said'),
  [
    ('binary', ('a',), lambda m: m // 255, '0 and 1 are indices'),
    ('index', ('a', 'b'), lambda m: np.choose(m, (0, 127, 255)), 'one value'),
    ('index', ('a', 'b'), lambda m: 21 * m, 'one value per class'),
    ('index', ('a', 'b'), lambda m: 63 * m, 'one value per class'),
    ('index', ('a', 'b'), lambda m: m + 1, 'count from 1'),
  ],
)
def test_recoded_masks_are_read_alike_as_proposed(
  write_folder, diagnose, load_proposed, mask, classes, recoded, said
):
  root = write_folder('abcdef', mask)
  before = labels(load_proposed(root, {}, mask, classes))
  recode(root / 'masks', lambda m: recoded(m).astype(np.uint8))
  finding = diagnose(root, mask, classes)['undeclared mask values']
  assert finding.severity == 'error'
  assert finding.number == 6
  assert len(finding.files) == 6
  assert said in finding.text
  after = labels(load_proposed(root, finding.settings, mask, classes))
  for name, label in before.items():
    np.testing.assert_array_equal(after[name], label)


def test_foreground_of_255_in_an_index_mask_is_void(
  write_folder, diagnose, load_proposed
):
  root = write_folder()
  finding = diagnose(root, 'index')['foreground is void']
  assert finding.settings == {'data.masks.kind': 'binary'}


def test_a_value_between_may_be_void(write_folder, diagnose, load_proposed):
  root = write_folder()
  square = np.zeros((40, 48), bool)
  square[:9, :9] = True
  recode(root / 'masks', lambda m: np.where(square, 127, m).astype(np.uint8))
  finding = diagnose(root)['undeclared mask values']
  assert finding.settings == {
    'data.masks.kind': 'binary',
    'data.masks.void': (127,),
  }
  for label in labels(load_proposed(root, finding.settings)).values():
    np.testing.assert_array_equal(label == 255, square)


@pytest.mark.parametrize('step', [21, 63])
def test_agreement_levels_in_a_binary_mask_are_cut_at_half(
  write_folder, diagnose, load_proposed, step
):
  root = write_folder()
  levels = np.arange(40 * 48).reshape(40, 48) % (252 // step + 1) * step
  recode(root / 'masks', lambda m: np.where(m, levels, 0).astype(np.uint8))
  stored = {name: read(root / f'masks/{name}.png') for name in 'abcd'}
  finding = diagnose(root)['undeclared mask values']
  assert f'levels {step} apart' in finding.text
  for name, label in labels(load_proposed(root, finding.settings)).items():
    np.testing.assert_array_equal(label, stored[name] >= 126.5)


def test_agreement_levels_of_folders_are_reported_with_the_threshold_s_effect(
  write_folder, diagnose
):
  root = write_folder('abcdef', 'folders')
  levels = (np.arange(40 * 48).reshape(40, 48) % 13 * 21).astype(np.uint8)
  recode(root / 'GT/a', lambda m: np.where(m, levels, 0).astype(np.uint8))
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel', threshold=26)
  finding = findings['agreement levels']
  assert finding.severity == 'note'
  assert finding.number == 13
  assert 'a: 13 grey levels, 21 apart from 0 to 252' in finding.text
  stored = np.stack([read(path) for path in (root / 'GT/a').iterdir()])
  for low in (26, 126, 189):
    share = (stored >= low).sum() / (stored > 0).sum()
    assert f'{100 * share:.0f} % are {low} or more' in finding.text
  assert '--config.data.masks.soft=252' in finding.remedy
  soft = diagnose(root, 'folders', ('a', 'b'), 'multilabel', soft=252)
  assert 'agreement levels' not in soft


def test_folder_masks_of_0_and_1_need_another_threshold(write_folder, diagnose):
  root = write_folder('abcdef', 'folders')
  for folder in 'ab':
    recode(root / 'GT' / folder, lambda m: m // 255)
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel')
  assert findings['undeclared mask values'].settings == {
    'data.masks.threshold': 1
  }
  findings = diagnose(root, 'folders', ('a', 'b'), 'multilabel', threshold=1)
  assert not any(x.severity == 'error' for x in findings.values())


def test_0_1_beside_0_255_is_reported_with_the_fewer(
  write_folder, diagnose, load_proposed
):
  root = write_folder()
  before = labels(load_proposed(root, {}))
  path = root / 'masks/c.png'
  Image.fromarray(read(path) // 255).save(path)
  findings = diagnose(root)
  assert 'undeclared mask values' not in findings
  finding = findings['mixed mask scale']
  assert finding.severity == 'error'
  assert finding.files == (str(path),)
  after = labels(load_proposed(root, finding.settings))
  for name, label in before.items():
    np.testing.assert_array_equal(after[name], label)


def test_palette_is_read_as_indices(write_folder, diagnose, load_proposed):
  root = write_folder(mask='index')
  before = labels(load_proposed(root, {}, 'index', ('a', 'b')))
  for path in (root / 'masks').iterdir():
    image = Image.fromarray(read(path))
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.save(path)
  assert 'undeclared mask values' not in diagnose(root, 'index', ('a', 'b'))
  finding = diagnose(root)['undeclared mask values']  # Read as binary masks.
  assert finding.settings['data.masks.kind'] == 'index'
  assert finding.settings['task'] == 'multiclass'
  assert finding.settings['data.classes'] == ('a', 'class_2')
  after = labels(load_proposed(root, finding.settings))
  for name, label in before.items():
    np.testing.assert_array_equal(after[name], label)


def test_few_colours_are_proposed_as_classes(
  write_folder, diagnose, load_proposed
):
  root = write_folder(mask='index')
  before = labels(load_proposed(root, {}, 'index', ('a', 'b')))
  colours = np.array([(0, 0, 0), (0, 128, 0), (128, 0, 0)], np.uint8)
  recode(root / 'masks', lambda m: colours[m])
  finding = diagnose(root, 'index', ('a', 'b'))['undeclared mask values']
  assert finding.settings['data.masks.merge'] == {
    'background': ('#000000',),
    'a': ('#008000',),
    'b': ('#800000',),
  }
  after = labels(load_proposed(root, finding.settings, 'index', ('a', 'b')))
  for name, label in before.items():
    np.testing.assert_array_equal(after[name], label)
  other = diagnose(root, 'index', ('a',))['undeclared mask values'].settings
  assert other['data.classes'] == ('color_008000', 'color_800000')
  assert other['task'] == 'multiclass'
  again = diagnose(root, 'color', ('a', 'b'))['undeclared mask values']
  assert again.settings == finding.settings


def test_many_colours_are_no_classes(write_folder, diagnose):
  root = write_folder(mask='index')
  noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
  recode(root / 'masks', lambda m: noise)
  finding = diagnose(root, 'index', ('a', 'b'))['undeclared mask values']
  assert 'too many for classes' in finding.text
  assert not finding.settings
  assert 'PNG' in finding.remedy


def test_jpeg_masks_are_cut_at_128(write_folder, diagnose, load_proposed):
  root = write_folder(size=(80, 96))
  before = labels(load_proposed(root, {}))
  for path in sorted((root / 'masks').iterdir()):
    Image.fromarray(read(path)).save(path.with_suffix('.jpg'), quality=70)
    path.unlink()
  finding = diagnose(root)['undeclared mask values']
  assert 'JPEG' in finding.text
  after = labels(load_proposed(root, finding.settings))
  for name, label in before.items():
    assert (after[name] != label).mean() < 0.01


def test_smoothed_masks_are_cut_at_128(write_folder, diagnose, load_proposed):
  root = write_folder(size=(80, 96))
  before = labels(load_proposed(root, {}))
  for path in (root / 'masks').iterdir():
    with Image.open(path) as image:
      small = image.resize((95, 79), Image.Resampling.BILINEAR)
    small.resize((96, 80), Image.Resampling.BILINEAR).save(path)
  finding = diagnose(root)['undeclared mask values']
  assert 'smoothing has' in finding.text
  after = labels(load_proposed(root, finding.settings))
  for name, label in before.items():
    assert (after[name] != label).mean() < 0.05


def test_jpeg_of_several_classes_cannot_be_mended(write_folder, diagnose):
  root = write_folder(mask='index', size=(80, 96))
  for path in sorted((root / 'masks').iterdir()):
    Image.fromarray(100 * read(path)).save(path.with_suffix('.jpg'), quality=70)
    path.unlink()
  finding = diagnose(root, 'index', ('a', 'b'))['undeclared mask values']
  assert not finding.settings
  assert 'cannot be recovered' in finding.text


def test_more_indices_than_names_are_named(
  write_folder, diagnose, load_proposed
):
  root = write_folder(mask='index')
  finding = diagnose(root, 'index', ('a',))['undeclared mask values']
  assert finding.settings['data.classes'] == ('a', 'class_2')
  dataset = load_proposed(root, finding.settings, 'index')
  assert dataset.classes == ('a', 'class_2')


def test_indices_that_never_are_0_may_be_off_by_one(write_folder, diagnose):
  root = write_folder(mask='index')
  recode(root / 'masks', lambda m: np.maximum(m, 1))
  finding = diagnose(root, 'index', ('a', 'b'))['off by one']
  assert finding.severity == 'warning'
  assert '1 is not a' in finding.text
  findings = diagnose(root, 'index', ('z', 'a', 'b'), background='')
  assert 'off by one' not in findings


def test_level_step_distinguishes_levels_from_indices_and_blur():
  assert meanings.level_step([0, 21, 42, 252]) == 21
  assert meanings.level_step([0, 63, 126, 189, 252]) == 63
  assert meanings.level_step([0, 1, 2, 3]) == 0
  assert meanings.level_step([0, 255]) == 0
  assert meanings.level_step(list(range(256))) == 0


def test_masks_that_number_objects_are_one_class(write_folder, diagnose):
  root = write_folder(mask='index')
  for i, path in enumerate(sorted((root / 'masks').iterdir())):
    numbers = 100 * i + np.arange(40 * 48).reshape(40, 48) // 8
    numbers[20:] = 0
    Image.fromarray(numbers.astype(np.uint16)).save(path)
  finding = diagnose(root, 'index', ('a', 'b'), 'multiclass')[
    'undeclared mask values'
  ]
  assert 'values number objects, which are one class' in finding.text
  assert finding.settings == {
    'task': 'binary',
    'data.masks.kind': 'index',
    'data.classes': ('a',),
  }
  assert 'undeclared mask values' not in diagnose(root, 'index', ('a',))

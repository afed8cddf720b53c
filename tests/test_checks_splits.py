"""Planted duplicates, and names that form groups."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from unet_jax.doctor.checks import splits

NAMES = [f'{i:02d}' for i in range(12)]
SPLITS = dict(train=NAMES[:8], val=NAMES[8:])


@pytest.fixture
def scenes(write_folder):
  """Returns a folder of 12 smooth scenes, in train and val."""
  root = write_folder(NAMES, size=(64, 64), **SPLITS)
  for i, name in enumerate(NAMES):
    save(root, name, draw_scene(i))
  return root


def draw_scene(seed, size=64):
  """Draws smooth random colours that differ between scenes in the details."""
  rng = np.random.default_rng(seed)
  coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
  return coarse.resize((size, size), Image.Resampling.BICUBIC)


def save(root, name, image):
  image.save(root / 'images' / f'{name}.png')


def test_scenes_are_not_alike(scenes, diagnose):
  findings = diagnose(scenes)
  assert not {'duplicate images', 'near duplicates'} & set(findings)


def test_exact_duplicates_across_splits_are_a_warning(scenes, diagnose):
  save(scenes, '09', draw_scene(2))
  finding = diagnose(scenes)['duplicate images']
  assert finding.severity == 'warning'
  assert '02 (train) and 09 (val)' in finding.text
  assert finding.files == tuple(
    str(scenes / f'images/{name}.png') for name in ('02', '09')
  )


def test_exact_duplicates_within_a_split_are_a_note(scenes, diagnose):
  for name in ('03', '04'):
    save(scenes, name, draw_scene(2))
  findings = diagnose(scenes)
  assert findings['duplicate images'].severity == 'note'
  assert findings['duplicate images'].number == 3
  assert 'near duplicates' not in findings  # They are reported once.


def test_near_duplicates_are_found(scenes, diagnose):
  image = ImageEnhance.Brightness(draw_scene(5)).enhance(0.8)
  save(scenes, '10', image.crop((1, 1, 64, 64)).resize((64, 64)))
  finding = diagnose(scenes)['near duplicates']
  assert finding.severity == 'warning'
  assert '05 (train) and 10 (val)' in finding.text
  assert finding.number == 2


def test_retinas_are_similar_only_if_they_are_the_same():
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:16, :16] - 7.5
  disc = 150.0 * (np.hypot(y, x) < 7)
  thumbs = disc + 12 * rng.normal(size=(30, 16, 16))
  thumbs[20] = thumbs[4] + rng.normal(size=(16, 16))
  features = splits.distinguish(thumbs.astype(np.float32))
  pairs = splits.nearest_pairs(features, np.zeros(30, int), same=True)
  assert pairs == [(4, 20)]


def test_nearest_pairs_are_a_loop_s(monkeypatch):
  rng = np.random.default_rng(0)
  features = rng.normal(size=(40, 3))
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  group = rng.integers(0, 3, 40)
  monkeypatch.setattr(splits, 'BLOCK', 7)
  for same in (True, False):
    expected = {}
    for i in range(40):
      others = [j for j in range(40) if j != i]
      others = [j for j in others if (group[i] == group[j]) == same]
      best = max(others, key=lambda j, i=i: features[i] @ features[j])
      if features[i] @ features[best] > splits.ALIKE:
        pair = (min(i, best), max(i, best))
        expected[pair] = features[i] @ features[best]
    pairs = splits.nearest_pairs(features, group, same=same)
    assert pairs == sorted(expected, key=expected.get, reverse=True)
    assert pairs


def test_mask_of_another_image_is_found_unless_it_is_empty(scenes, diagnose):
  with Image.open(scenes / 'masks/01.png') as mask:
    mask.save(scenes / 'masks/07.png')
  for name in ('03', '04'):
    Image.new('L', (64, 64)).save(scenes / f'masks/{name}.png')
  finding = diagnose(scenes)['identical masks']
  assert finding.severity == 'warning'
  assert finding.files == tuple(
    str(scenes / f'masks/{name}.png') for name in ('01', '07')
  )


def test_patients_in_two_splits_are_found_by_their_names(
  write_folder, diagnose
):
  names = [f'p{i}_{side}' for i in range(6) for side in ('left', 'right')]
  root = write_folder(names, train=names[:7], val=names[7:])
  finding = diagnose(root)['group leakage']
  assert finding.severity == 'warning'
  assert finding.text.startswith('1 group')
  assert '(p3)' in finding.text
  assert finding.number == 2
  (root / 'train.txt').write_text('\n'.join(names[:6]))
  (root / 'val.txt').write_text('\n'.join(names[6:]))
  assert 'group leakage' not in diagnose(root)


def test_a_declared_group_that_leaks_is_an_error(write_folder, diagnose):
  names = ['x1a', 'x1b', 'x2a', 'x2b']
  root = write_folder(names, train=['x1a', 'x2a', 'x2b'], val=['x1b'])
  assert 'group leakage' not in diagnose(root)  # The names don't say.
  finding = diagnose(root, group='x(.)')['group leakage']
  assert finding.severity == 'error'
  assert '(1)' in finding.text


def test_groups_found_in_names_can_be_drawn_whole(write_folder, diagnose):
  names = [f'p{i}_{side}' for i in range(9) for side in ('left', 'right')]
  root = write_folder(names)
  settings = diagnose(root)['group leakage'].settings
  assert 'group leakage' not in diagnose(
    root, group=settings['data.split.group']
  )


def test_numbered_names_are_no_groups(write_folder, diagnose):
  names = [f'image_{i:03d}' for i in range(8)]
  root = write_folder(names, train=names[:5], val=names[5:])
  assert 'group leakage' not in diagnose(root)

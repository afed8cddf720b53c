"""Validation splits and folds that are drawn."""

import numpy as np
import pytest

from unet_jax import errors
from unet_jax.data import split_drawing

NAMES = [f'name{i}' for i in range(10)]
ALIKE = np.ones((10, 1), bool)


@pytest.mark.parametrize(
  ('share', 'num_val'), [(0.0, 0), (0.01, 1), (0.2, 2), (0.25, 2), (0.9, 9)]
)
def test_share_is_held_out_exactly(share, num_val):
  assert split_drawing.hold_back(NAMES, ALIKE, share, seed=0).sum() == num_val


def test_seed_alone_decides_which_images_are_held_out():
  draws = {
    tuple(split_drawing.hold_back(NAMES, ALIKE, 0.3, seed)) for seed in range(9)
  }
  assert len(draws) > 5
  np.testing.assert_array_equal(
    *(split_drawing.hold_back(NAMES, ALIKE, 0.3, 4) for _ in range(2))
  )


@pytest.mark.parametrize(('count', 'share'), [(1, 0.2), (3, 0.9)])
def test_nothing_left_to_train_on_is_reported(count, share):
  with pytest.raises(
    errors.InputError, match='val_share.*leaves none.*add images'
  ):
    split_drawing.hold_back(NAMES[:count], ALIKE[:count], share, seed=0)
  with pytest.raises(errors.InputError, match='folds is 5, but there are'):
    split_drawing.draw_folds(NAMES[:count], ALIKE[:count], 5, seed=0)


@pytest.mark.parametrize('seed', range(5))
def test_folds_have_their_share_of_every_class(seed):
  rng = np.random.default_rng(seed)
  presence = rng.random((100, 4)) < (0.9, 0.5, 0.2, 0.1)
  presence[:5, 3] = True  # At least one for each fold.
  groups = [str(i) for i in range(100)]
  fold_of = split_drawing.draw_folds(groups, presence, 5, seed)
  np.testing.assert_array_equal(np.bincount(fold_of), [20] * 5)
  shares = np.array([presence[fold_of == i].sum(axis=0) for i in range(5)])
  np.testing.assert_allclose(
    shares, np.tile(presence.sum(axis=0) / 5, (5, 1)), atol=1.5
  )
  # Dealt by chance alone, the rarest class is spread worse.
  chance = rng.permutation(fold_of)
  by_chance = [presence[chance == i, 3].sum() for i in range(5)]
  assert np.ptp(shares[:, 3]) <= np.ptp(by_chance)


def test_class_of_two_images_is_in_both_parts():
  presence = np.zeros((10, 1), bool)
  presence[:2] = True
  for seed in range(20):
    is_val = split_drawing.hold_back(NAMES, presence, 0.3, seed)
    assert is_val[:2].sum() == 1


def test_groups_stay_together():
  rng = np.random.default_rng(0)
  groups = rng.choice(list('abcdefghijklmnop'), 80).tolist()
  presence = rng.random((80, 3)) < 0.4
  fold_of = split_drawing.draw_folds(groups, presence, 4, seed=0)
  for name in set(groups):
    assert len({fold_of[i] for i, g in enumerate(groups) if g == name}) == 1
  assert np.bincount(fold_of).min() >= 15


def test_group_is_a_part_of_the_name_or_a_column(tmp_path):
  names = ['p1_left', 'p1_right', 'p2_left']
  by_name = split_drawing.group(names, r'^(p\d+)_', tmp_path)
  assert by_name == ['p1', 'p1', 'p2']
  assert len(set(split_drawing.group(names, '', tmp_path))) == 3
  table = tmp_path / 'eyes.csv'
  table.write_text(
    'image,age,patient\np2_left,7,B\np1_right,8,A\np1_left,8,A\n'
  )
  assert split_drawing.group(names, 'eyes.csv:patient', tmp_path) == [
    'A',
    'A',
    'B',
  ]
  for rule, message in [
    (r'^(q\d+)_', 'does not match p1_left'),
    ('eyes.csv:doctor', 'has no column doctor .it has: image, age, patient'),
    ('nose.csv:patient', 'nose.csv cannot be read'),
  ]:
    with pytest.raises(errors.InputError, match=message):
      split_drawing.group(names, rule, tmp_path)
  with pytest.raises(errors.InputError, match='has no patient for p9'):
    split_drawing.group([*names, 'p9'], 'eyes.csv:patient', tmp_path)

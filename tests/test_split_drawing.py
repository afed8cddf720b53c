"""Validation splits and folds that are drawn."""

import numpy as np
import pytest

from unet_jax import errors
from unet_jax.data import spec, split_drawing

NAMES = [f'name{i}' for i in range(10)]
ALIKE = np.ones((10, 1), bool)


@pytest.mark.parametrize(
  ('share', 'folds', 'splits', 'expected'),
  [
    # -1, the default, draws val only where there are no lists.
    (-1, 0, ('all',), True),
    (-1, 0, ('train',), False),
    (-1, 0, ('train', 'test'), False),
    (0, 0, ('all',), False),
    (0.2, 0, ('train',), True),
    (0.2, 0, ('train', 'val'), False),
    (0, 3, ('train', 'val'), True),
  ],
)
def test_val_is_drawn_if_it_is_missing_and_wanted(
  share, folds, splits, expected
):
  split = spec.Split('', '', '', float(share), '', folds, 0)
  keys = dict.fromkeys(splits, NAMES)
  assert split_drawing.is_needed(split, keys) is expected


@pytest.mark.parametrize(
  ('share', 'folds', 'num_val'), [(-1, 0, 2), (0.4, 0, 4), (0, 5, 2)]
)
def test_train_and_val_are_all_images_once(share, folds, num_val, tmp_path):
  split = spec.Split('', '', '', float(share), '', folds, 0)
  drawn = split_drawing.draw(
    *(split, NAMES),
    names=NAMES,
    presence=ALIKE,
    root=tmp_path,
    seed=0,
  )
  assert len(drawn.val) == num_val
  assert sorted(drawn.train + drawn.val) == sorted(NAMES)
  assert f'val is {num_val} of 10 images' in drawn.note


def test_all_images_are_for_training_if_none_is_held_out():
  assert split_drawing.without_val({'all': NAMES}) == {'train': NAMES}
  listed = {'train': NAMES[:8], 'test': NAMES[8:]}
  assert split_drawing.without_val(listed) == listed
  pooled = split_drawing.pool(listed | {'val': ['x']})
  assert pooled == [*NAMES[:8], 'x']
  assert split_drawing.pool({'all': NAMES}) == NAMES


@pytest.mark.parametrize(
  ('share', 'num_val'), [(0.01, 1), (0.2, 2), (0.25, 2), (0.9, 9)]
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


def test_an_image_is_left_to_train_on():
  is_val = split_drawing.hold_back(NAMES[:3], ALIKE[:3], 0.9, seed=0)
  assert is_val.sum() == 2


@pytest.mark.parametrize(
  ('groups', 'what'), [('a', 'one image '), ('aaa', '3 images of one group ')]
)
def test_nothing_left_to_train_on_is_reported(groups, what):
  message = f'{what}cannot be split .*: --config.data.split.val_share=0$'
  alike = ALIKE[: len(groups)]
  with pytest.raises(errors.InputError, match=message):
    split_drawing.hold_back(groups, alike, 0.2, seed=0)
  with pytest.raises(errors.InputError, match='folds is 5, but there are'):
    split_drawing.draw_folds(groups, alike, 5, seed=0)


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


@pytest.mark.parametrize(
  ('sizes', 'share', 'num_val'),
  [
    ((4, 4, 4), 0.2, 4),
    ((5, 5), 0.2, 5),
    ((8, 2), 0.2, 2),
    ((8, 2), 0.9, 8),
    ((10, 3, 2), 0.2, 3),
    ((10,) * 13, 0.05, 10),
  ],
)
@pytest.mark.parametrize('seed', range(3))
def test_val_has_the_whole_groups_that_are_nearest_to_its_share(
  sizes, share, num_val, seed
):
  groups = np.repeat(np.arange(len(sizes)), sizes).astype(str).tolist()
  alike = np.ones((len(groups), 1), bool)
  is_val = split_drawing.hold_back(groups, alike, share, seed)
  assert is_val.sum() == num_val
  assert not {*np.array(groups)[is_val]} & {*np.array(groups)[~is_val]}


@pytest.mark.parametrize('seed', range(50))
def test_no_part_is_empty_if_there_are_groups_enough(seed):
  rng = np.random.default_rng(seed)
  num_groups = int(rng.integers(2, 7))
  sizes = rng.integers(1, 12, num_groups)
  groups = np.repeat(np.arange(num_groups), sizes).astype(str).tolist()
  presence = rng.random((len(groups), 3)) < rng.random(3)
  share = rng.uniform(0.01, 0.9)
  is_val = split_drawing.hold_back(groups, presence, share, seed)
  assert 0 < is_val.sum() < len(groups)
  fold_of = split_drawing.draw_folds(groups, presence, num_groups, seed)
  np.testing.assert_array_equal(np.unique(fold_of), np.arange(num_groups))


def test_group_is_a_part_of_the_name_or_a_column(tmp_path):
  names = ['p1_left', 'p1_right', 'p2_left']
  by_name = split_drawing.group(names, r'^(p\d+)_', tmp_path)
  assert by_name == ['p1', 'p1', 'p2']
  assert len(set(split_drawing.group(names, '', tmp_path))) == 3
  table = tmp_path / 'eyes.csv'
  for encoding in ('utf-16', 'utf-8-sig', 'utf-8'):
    table.write_text(
      'image,age,patient\np2_left,7,B\np1_right,8,A\np1_left,8,A\n', encoding
    )
    by_table = split_drawing.group(names, 'eyes.csv:patient', tmp_path)
    assert by_table == ['A', 'A', 'B']
  for rule, message in [
    (r'^(q\d+)_', 'does not match p1_left'),
    ('eyes.csv:doctor', 'has no column doctor .it has: image, age, patient'),
    ('nose.csv:patient', 'nose.csv cannot be read'),
  ]:
    with pytest.raises(errors.InputError, match=message):
      split_drawing.group(names, rule, tmp_path)
  # A first row that is longer than the header.
  table.write_text('image,age\np1_left,8,A,B\n')
  with pytest.raises(
    errors.InputError, match=r'no column patient .*: image, age'
  ):
    split_drawing.group(names, 'eyes.csv:patient', tmp_path)
  table.write_text('image,patient\np1_left,A\np1_right,A\np2_left,B\n')
  with pytest.raises(errors.InputError, match='has no patient for p9'):
    split_drawing.group([*names, 'p9'], 'eyes.csv:patient', tmp_path)

"""Where classes occur; Fisher's test is compared with SciPy's."""

import numpy as np
import pytest
import scipy.stats

from unet_jax.data.checks import classes, finding, run
from unet_jax.doctor.checks import memory

NAMES = ('a', 'b')


def tally(*rows, pixels=1000):
  void = np.zeros(len(rows), int)
  return classes.Tally(np.array(rows), np.full(len(rows), pixels), void)


def titles(findings):
  return [finding.title for finding in findings]


def shifted(a, n, b, m):
  """Returns the findings of a class in a of n train and b of m test images."""
  present = {
    'train': np.arange(n)[:, None] < a,
    'test': np.arange(m)[:, None] < b,
  }
  return classes.shift(present, ['a'])


EVEN = tally(*[(10, 20), (0, 30), (20, 0)] * 4)


def test_even_splits_give_no_finding():
  assert classes.check({'train': EVEN, 'test': EVEN}, NAMES, 'index') == []


def test_class_that_train_lacks_cannot_be_learnt():
  (finding,) = classes.absent(
    {'train': tally((0, 5)), 'val': EVEN}, NAMES, 'index'
  )
  assert finding.severity == 'warning'
  assert finding.text.startswith('no pixel of the train split is a:')


def test_class_that_test_lacks_has_no_score():
  (finding,) = classes.absent(
    {'train': EVEN, 'test': tally((5, 0))}, NAMES, 'index'
  )
  assert finding.severity == 'warning'
  assert 'no pixel of the test split is b' in finding.text


def test_train_without_any_class_is_an_error():
  (finding,) = classes.absent({'train': tally((0, 0))}, NAMES, 'index')
  assert finding.severity == 'error'
  assert 'a or b' in finding.text


def test_a_single_class_on_most_pixels_may_be_inside_out():
  rows = [(950,), (960,), (850,)]  # 92 %, by hand.
  (finding,) = classes.inside_out(tally(*rows), ['a'])
  assert finding.severity == 'warning'
  assert finding.text.startswith("a is 92 % of train's pixels")
  assert 'config.data.masks.merge' in finding.remedy
  assert not classes.inside_out(tally(*rows, (600,)), ['a'])  # 84 %.
  assert not classes.inside_out(tally((940, 50)), NAMES)


def test_class_of_few_images_is_rare():
  rows = [(100, 100)] * 2 + [(100, 0)] * 8
  (finding,) = classes.rare(tally(*rows), NAMES)
  assert finding.severity == 'warning'
  assert 'only 2 of 10 train images have b' in finding.text


def test_class_of_few_pixels_is_rare():
  (finding,) = classes.rare(tally(*[(100, 1)] * 9, pixels=10_000), NAMES)
  assert finding.severity == 'note'
  assert finding.text.startswith('b is 0.01 %')


def test_class_in_all_images_is_noted():
  (finding,) = classes.everywhere(tally((5, 5), (5, 0), (5, 5)), NAMES)
  assert finding.severity == 'note'
  assert finding.text.startswith('a is in all 3 train images')


def test_empty_images_are_counted_by_split_and_named():
  some = tally((0, 0), (1, 0), (1, 0))
  some = some._replace(names=('a.png', 'b.png', 'c.png'))
  (finding,) = classes.empty({'train': some, 'test': tally((0, 0), (0, 1))})
  assert finding.severity == 'note'
  assert finding.number == 2
  assert finding.files == ('a.png',)
  assert '1 of 3 train images and 1 of 2 test images' in finding.text
  (finding,) = classes.empty({'train': tally((0, 0), (0, 0), (1, 0))})
  assert finding.severity == 'warning'


@pytest.mark.parametrize(
  'table',
  [(27, 27, 19, 62), (3, 10, 3, 11), (0, 5, 4, 6), (0, 9, 0, 9), (8, 8, 8, 8)],
)
def test_fisher_s_exact_test_is_scipys(table):
  a, n, b, m = table
  expected = scipy.stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
  assert classes.fisher_exact(*table) == pytest.approx(expected, rel=1e-6)


def test_fisher_s_exact_test_of_a_large_set_is_scipys():
  expected = scipy.stats.fisher_exact([[900, 2100], [700, 2300]]).pvalue
  p = classes.fisher_exact(900, 3000, 700, 3000)
  assert p == pytest.approx(expected, rel=1e-6)


def test_shift_of_diaretdb1_is_found():
  (finding,) = shifted(27, 27, 19, 62)
  assert finding.severity == 'warning'
  assert 'a in 27 of 27 train and 19 of 62 test images' in finding.text
  assert 'p = 9e-11' in finding.text


def test_shift_needs_both_significance_and_effect():
  assert shifted(6, 10, 3, 10) == []  # Too few images.
  assert shifted(2000, 4000, 1800, 4000) == []  # Significant, but small.


def test_shift_of_no_images_is_none():
  assert shifted(0, 4, 0, 4) == []


@pytest.mark.parametrize(
  ('batch_size', 'num_train', 'num_devices', 'expected'),
  [
    (8, 20, 4, {}),
    (6, 20, 4, {'batch_size': 8}),
    (3, 20, 4, {'batch_size': 4}),
    (16, 5, 2, {'batch_size': 6}),
    (4, 2, 4, {}),
  ],
)
def test_batch_is_checked_against_devices_and_images(
  batch_size, num_train, num_devices, expected
):
  findings = run.batch(batch_size, num_train, num_devices)
  assert [dict(x.settings) for x in findings] == (
    [expected] if expected else []
  )
  is_shared = batch_size % num_devices == 0
  assert all((x.severity == 'error') != is_shared for x in findings)


def test_run_shorter_than_an_epoch_is_reported():
  (finding,) = run.length(total_steps=5, batch_size=4, num_train=40)
  assert '50 % of the 40 train images' in finding.text
  assert finding.settings == {'total_steps': 10}
  (finding,) = run.length(total_steps=30, batch_size=4, num_train=40)
  assert finding.severity == 'note'
  assert finding.text.startswith('10 steps of 4 images')
  assert 'see each train image 3 times' in finding.text


def test_memory_is_checked_against_the_device():
  gib = 2**30
  (finding,) = memory.compare(8 * gib, 16 * gib, 'GPU')
  assert finding.severity == 'note'
  (finding,) = memory.compare(15 * gib, 16 * gib, 'GPU')
  assert finding.severity == 'warning'
  (finding,) = memory.compare(20 * gib, 16 * gib, 'GPU')
  assert finding.severity == 'error'
  assert '20.0 GiB of the 16.0 that a device has' in finding.text


def test_checks_of_a_run_find_nothing_in_clean_data():
  findings = classes.check({'train': EVEN, 'val': EVEN}, NAMES, 'index')
  findings += run.length(total_steps=400, batch_size=8, num_train=12)
  assert finding.notes(findings) == []
  findings = classes.check(
    {'train': EVEN, 'val': tally((1, 0))}, NAMES, 'index'
  )
  (note,) = finding.notes(findings)
  assert note.startswith('no pixel of the val split is b')

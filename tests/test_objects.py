"""Detection of objects, by hand."""

import numpy as np
import pytest

from unet_jax.evaluation import objects


def mask(*boxes, shape=(40, 40)):
  """Draws boxes of (top, left, height, width)."""
  drawn = np.zeros(shape, bool)
  for top, left, height, width in boxes:
    drawn[top : top + height, left : left + width] = True
  return drawn


TRUTH = mask((0, 0, 10, 10), (20, 20, 10, 10))


@pytest.mark.parametrize(
  ('pred', 'expected'),
  [
    (TRUTH, (2, 2, 2, 2, 2)),
    (mask(), (2, 0, 0, 0, 0)),
    (mask((0, 0, 1, 10)), (2, 1, 1, 1, 1)),  # Exactly a tenth of the object.
    (mask((0, 0, 1, 9)), (2, 0, 1, 1, 0)),  # A pixel less.
    # Two parts of 5 pixels each: together a tenth, alone too few.
    (mask((0, 0, 1, 5), (5, 0, 1, 5)), (2, 0, 2, 2, 0)),
    # All is one component, of which 200 of 1,600 pixels are true.
    (np.ones((40, 40), bool), (2, 2, 1, 1, 2)),
    # Covers an object, but 100 of 1,270 pixels are true.
    (mask((0, 0, 30, 20), (30, 0, 10, 40), (0, 31, 30, 9)), (2, 1, 1, 0, 0)),
    (mask((35, 35, 3, 3)), (2, 0, 1, 0, 0)),
  ],
)
def test_objects_are_counted(pred, expected):
  np.testing.assert_array_equal(objects.count(pred, TRUTH), expected)


def test_diagonal_neighbours_are_one_object():
  diagonal = np.eye(8, dtype=bool)
  np.testing.assert_array_equal(
    objects.count(diagonal, diagonal), (1, 1, 1, 1, 1)
  )


def test_scores_by_hand():
  counts = np.array(
    [(4, 2, 5, 4, 2), (0, 0, 3, 0, 0), (3, 0, 0, 0, 0), (0, 0, 0, 0, 0)]
  )
  scores = objects.scores(counts)
  nan = np.nan
  np.testing.assert_allclose(scores['recall'], [0.5, nan, 0, nan])
  np.testing.assert_allclose(scores['precision'], [0.8, 0, nan, nan])
  np.testing.assert_allclose(scores['f1'], [2 * 0.4 / 1.3, 0, 0, nan])


def test_levels_cut_the_logits():
  logits = np.full((40, 40), -20, np.float32)
  logits[TRUTH] = 2
  logits[35:38, 35:38] = -3
  counts = objects.count_levels(logits, TRUTH)
  by_level = dict(zip(objects.LEVELS, counts.tolist(), strict=True))
  assert by_level[3] == [2, 0, 0, 0, 0]
  assert by_level[2] == by_level[-2] == [2, 2, 2, 2, 2]
  assert by_level[-3] == by_level[-8] == [2, 2, 3, 2, 2]


def test_froc_by_hand():
  # Two images, three levels: true, found, predicted, right.
  counts = np.array(
    [
      # What the second level finds without a right object does not count.
      [(3, 1, 1, 1, 1), (3, 2, 3, 2, 2), (3, 3, 9, 3, 3)],
      [(1, 0, 0, 0, 0), (1, 1, 1, 0, 0), (1, 1, 5, 1, 1)],
    ]
  )
  # Found of 4: 1, 2, 4; false per image: 0, 1, 5.
  assert objects.froc(counts) == {
    0.125: 0.25,
    0.25: 0.25,
    0.5: 0.25,
    1: 0.5,
    2: 0.5,
    4: 0.5,
    8: 1.0,
  }
  assert objects.froc(counts[:, 2:], rates=(4,)) == {4: 0.0}
  assert np.isnan(objects.froc(np.zeros((2, 3, 5), int), rates=(1,))[1])

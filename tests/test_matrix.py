"""The confusion matrix, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from unet_jax.evaluation import matrix

VOID = 255


def draw(seed, num_classes, shape):
  rng = np.random.default_rng(seed)
  label = rng.choice([*range(num_classes), VOID], shape).astype(np.uint8)
  return rng.integers(0, num_classes, shape).astype(np.uint8), label


@pytest.mark.parametrize('num_classes', [2, 5])
@pytest.mark.parametrize('dtype', [np.uint8, np.int32])
def test_matrix_of_each_image_is_scikit_learns_without_void(num_classes, dtype):
  pred, label = draw(0, num_classes, (3, 20, 30))
  counted = matrix.count(pred.astype(dtype), label.astype(dtype), num_classes)
  assert counted.dtype == np.int32
  for b in range(3):
    is_valid = label[b] != VOID
    expected = metrics.confusion_matrix(
      label[b][is_valid], pred[b][is_valid], labels=range(num_classes)
    )
    np.testing.assert_array_equal(counted[b], expected)


def test_a_large_image_is_counted_exactly():
  """A float32 sum would lose pixels beyond 2**24."""
  ones = np.ones((1, 4100, 4100), np.uint8)
  counted = matrix.count(ones, ones, 2)
  np.testing.assert_array_equal(counted, [[[0, 0], [0, 4100**2]]])


def test_counts_of_each_class_are_scikit_learns():
  pred, label = draw(1, 4, (2, 15, 15))
  matrices = np.stack(
    [
      metrics.confusion_matrix(t.ravel(), p.ravel(), labels=range(4))
      for t, p in zip(label % 4, pred, strict=True)
    ]
  )
  counts = matrix.to_counts(matrices)
  for b in range(2):
    expected = metrics.multilabel_confusion_matrix(
      (label[b] % 4).ravel(), pred[b].ravel(), labels=range(4)
    )  # [[tn, fp], [fn, tp]] of each class
    tn, fp, fn, tp = expected.reshape(4, 4).T
    np.testing.assert_array_equal(counts[b], np.stack([tp, fp, fn, tn], -1))


def test_permuting_classes_permutes_the_counts():
  pred, label = draw(2, 4, (1, 15, 15))
  order = np.array([2, 0, 3, 1])
  place = np.append(np.argsort(order), [VOID] * 252)  # Class -> new class.
  counts = [
    matrix.to_counts(np.asarray(matrix.count(p, t, 4)))
    for p, t in ((pred, label), (place[pred], place[label]))
  ]
  np.testing.assert_array_equal(counts[1][0], counts[0][0][order])


def test_matrices_of_two_halves_add_up_to_that_of_the_whole():
  pred, label = draw(3, 3, (1, 20, 16))
  whole = matrix.count(pred, label, 3)
  halves = [
    matrix.count(pred[:, part], label[:, part], 3)
    for part in (slice(0, 7), slice(7, None))
  ]
  np.testing.assert_array_equal(whole, halves[0] + halves[1])

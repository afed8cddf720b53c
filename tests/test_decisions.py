"""Masks of logits, against SciPy on the whole image and by hand."""

import numpy as np
import pytest
from scipy import ndimage

from unet_jax.data import labels
from unet_jax.evaluation import decisions

BINARY = labels.ClassSpec(('a',), 1, exclusive=False)
OVERLAPPING = labels.ClassSpec(('a', 'b'), 2, exclusive=False)
EXCLUSIVE = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)


def without_small(mask, smallest):
  """Removes the components of fewer pixels from bool[H, W], one by one."""
  label, count = ndimage.label(mask)
  kept = np.zeros_like(mask)
  for i in range(1, count + 1):
    if np.count_nonzero(label == i) >= smallest:
      kept |= label == i
  return kept


def test_a_threshold_is_the_least_logit_of_its_class():
  logits = np.array([[[-0.5, -0.5], [0.0, 0.0], [0.5, 0.5]]], np.float32)
  rule = decisions.Rule(thresholds=(-0.5, 0.5))
  planes = decisions.decide(logits, OVERLAPPING, rule)
  expected = [[[True, False], [True, False], [True, True]]]
  np.testing.assert_array_equal(planes, expected)
  usual = decisions.decide(logits, OVERLAPPING, decisions.PLAIN)
  np.testing.assert_array_equal(usual, [[[False] * 2, [False] * 2, [True] * 2]])


@pytest.mark.parametrize('smallest', [2, 5, 40, 500])
@pytest.mark.parametrize('rows', [3, 16, 200])
def test_components_in_strips_are_those_of_the_whole(
  monkeypatch, rows, smallest
):
  monkeypatch.setattr(decisions, 'ROWS', rows)
  rng = np.random.default_rng(smallest)
  logits = rng.normal(0.1, 1, (120, 40, 2)).astype(np.float32)
  logits[:, 7, 1] = 1  # As high as the image.
  logits[30:70, 20, 0] = 1
  rule = decisions.Rule(smallest=smallest)
  strips = np.split(logits, range(rows, 120, rows))
  planes = np.concatenate(
    list(decisions.decide_strips(strips, OVERLAPPING, rule))
  )
  expected = [without_small(logits[..., k] > 0, smallest) for k in range(2)]
  np.testing.assert_array_equal(planes, np.stack(expected, axis=-1))
  whole = decisions.decide(logits, OVERLAPPING, rule)
  np.testing.assert_array_equal(whole, planes)
  assert 0 < np.count_nonzero(planes) < np.count_nonzero(logits > 0)


def test_strips_of_components_are_bounded():
  """So that an image of any height fits into memory."""
  strips = (np.ones((100, 8, 1), np.float32) for _ in range(100))
  rule = decisions.Rule(smallest=50)
  sizes = [len(x) for x in decisions.decide_strips(strips, BINARY, rule)]
  assert sum(sizes) == 10_000
  assert max(sizes) <= 512


def test_a_removed_component_of_exclusive_classes_becomes_background():
  index = np.zeros((6, 8), int)
  index[:2, :2], index[2, 0], index[4:, 5:] = 1, 2, 2
  logits = np.float32(np.eye(3))[index]
  planes = decisions.decide(logits, EXCLUSIVE, decisions.Rule(smallest=3))
  index[2, 0] = 0
  np.testing.assert_array_equal(planes, np.eye(3, dtype=bool)[index])

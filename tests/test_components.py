"""Connected components, compared with SciPy's."""

import numpy as np
import pytest
import scipy.ndimage

from unet_jax.doctor import components


def reference(plane):
  labelled, count = scipy.ndimage.label(plane, structure=np.ones((3, 3)))
  return np.bincount(labelled.ravel(), minlength=count + 1)[1:]


@pytest.mark.parametrize('share', [0.0, 0.05, 0.3, 0.45, 0.6, 1.0])
@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (40, 1), (37, 53)])
def test_areas_are_scipys(shape, share):
  plane = np.random.default_rng(0).random(shape) < share
  areas = np.sort(components.measure(plane).areas)
  np.testing.assert_array_equal(areas, np.sort(reference(plane)))


@pytest.mark.parametrize('share', [0.0, 0.05, 0.3, 0.6, 1.0])
def test_sides_are_those_of_scipys_boxes(share):
  plane = np.random.default_rng(1).random((37, 53)) < share
  labelled, _ = scipy.ndimage.label(plane, structure=np.ones((3, 3)))
  boxes = scipy.ndimage.find_objects(labelled)
  measured = components.measure(plane)
  pairs = zip(measured.areas.tolist(), measured.sides.tolist(), strict=True)
  expected = zip(
    reference(plane).tolist(),
    (max(s.stop - s.start for s in box) for box in boxes),
    strict=True,
  )
  assert sorted(pairs) == sorted(expected)


def test_a_spiral_is_one_component():
  plane = np.zeros((41, 41), bool)
  y, x, step = 20, 20, (0, 1)
  for length in np.repeat(np.arange(2, 40, 2), 2):
    for _ in range(length):
      plane[y, x] = True
      y, x = y + step[0], x + step[1]
    step = (step[1], -step[0])
  assert reference(plane).tolist() == [plane.sum()]
  assert components.measure(plane).areas.tolist() == [plane.sum()]
  assert components.measure(plane).sides.tolist() == [41 - 2 * 1]


def test_corners_touch_and_the_row_s_ends_do_not():
  plane = np.zeros((3, 4), bool)
  plane[0, 3] = plane[1, 0] = plane[2, 1] = True
  assert sorted(components.measure(plane).areas) == [1, 2]

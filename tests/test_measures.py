"""Measures of strips are those of the whole image."""

import numpy as np
import pytest
import scipy.ndimage

from unet_jax.evaluation import measures


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('rows', [1, 2, 7, 40])
def test_strips_add_up_to_the_image(seed, rows):
  rng = np.random.default_rng(seed)
  planes = rng.random((40, 30, 3)) < (0.3, 0.55, 0.7)
  probs = rng.random((40, 30, 3), np.float32)
  total = measures.start(3, width=30)
  for top in range(0, 40, rows):
    part = slice(top, top + rows)
    total = measures.add(total, planes[part], probs[part])
  assert total.pixels == 40 * 30
  for k in range(3):
    plane = planes[..., k]
    assert total.area[k] == plane.sum()
    assert total.components[k] == scipy.ndimage.label(plane)[1]
    np.testing.assert_allclose(
      total.probability[k], probs[..., k][plane].sum(), rtol=1e-5
    )


def test_a_ring_that_closes_below_is_one_component():
  ring = np.ones((6, 5), bool)
  ring[1:5, 1:4] = False
  ring[0, 2] = False  # Two arms, until the last row joins them.
  total, counts = measures.start(1, width=5), []
  for row in ring:
    planes = row[None, :, None]
    total = measures.add(total, planes, planes.astype(np.float32))
    counts.append(int(total.components[0]))
  assert counts == [2, 2, 2, 2, 2, 1]


def test_an_empty_class_has_no_component():
  total = measures.start(1, width=4)
  planes = np.zeros((3, 4, 1), bool)
  for _ in range(2):
    total = measures.add(total, planes, planes.astype(np.float32))
  assert (total.area[0], total.components[0]) == (0, 0)

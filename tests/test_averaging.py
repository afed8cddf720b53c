"""Averages over views are NumPy's; equivariant functions are not changed."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from unet_jax import parallel
from unet_jax.evaluation import averaging

SIDE, BATCH = 16, 8
IMAGES = np.random.default_rng(0).integers(
  0, 256, (BATCH, SIDE, SIDE, 3), np.uint8
)


def slope(weights, batch):
  """A network that sees where a pixel lies, as an equivariant one does not."""
  rows = jnp.arange(SIDE, dtype=jnp.float32).reshape(1, -1, 1, 1)
  cols = rows.reshape(1, 1, -1, 1)
  return weights * batch['image'] / 32 + rows / 2 - cols - 4


def slope_of(weights, image):
  """Returns the logits of `slope` for uint8[S, S, 3], in NumPy."""
  rows, cols = np.mgrid[:SIDE, :SIDE][..., None]
  return weights * image.astype(float) / 32 + rows / 2 - cols - 4


def run(network, members, augment, *, exclusive):
  average = averaging.average(
    [parallel.map_batches(network)] * len(members),
    averaging.views_of(augment),
    exclusive=exclusive,
  )
  batch = parallel.place_batch({'image': IMAGES})
  return parallel.gather(average((members, None, None), batch))


# Pairs of what shows an image [S, S, 3] in a view, and what undoes it.
FLIPS = [
  (lambda x: x,) * 2,
  (lambda x: x[::-1],) * 2,
  (lambda x: x[:, ::-1],) * 2,
  (lambda x: x[::-1, ::-1],) * 2,
]
TURNS = [
  (lambda x, k=k: np.rot90(x, k), lambda x, k=k: np.rot90(x, -k))
  for k in range(4)
]
TRANSPOSES = [
  (lambda x: x.swapaxes(0, 1),) * 2,
  (lambda x: x[::-1, ::-1].swapaxes(0, 1),) * 2,
]


@pytest.mark.parametrize('exclusive', [False, True])
@pytest.mark.parametrize(
  ('augment', 'views'),
  [
    (['flips'], FLIPS),
    (['turns'], TURNS),
    (['flips', 'turns'], [*FLIPS, *TURNS[1::2], *TRANSPOSES]),
  ],
)
def test_probabilities_are_averaged_as_by_numpy(augment, views, exclusive):
  members = [np.float32(1), np.float32(-0.5)]
  got = run(slope, members, augment, exclusive=exclusive)
  probs_of = special.softmax if exclusive else special.expit
  axis = {'axis': -1} if exclusive else {}
  for image, logits in zip(IMAGES, got, strict=True):
    expected = np.mean(
      [
        back(probs_of(slope_of(weights, show(image)), **axis))
        for show, back in views
        for weights in (1, -0.5)
      ],
      axis=0,
    )
    probs = probs_of(logits.astype(float), **axis)
    np.testing.assert_allclose(probs, expected, atol=1e-6)


@pytest.mark.parametrize('exclusive', [False, True])
def test_the_average_of_an_equivariant_network_is_the_network(exclusive):
  def network(weights, batch):
    return weights * (batch['image'].astype(jnp.float32) / 4 - 32)

  got = run(network, [np.float32(1)], ['flips', 'turns'], exclusive=exclusive)
  expected = IMAGES / 4 - 32.0
  if exclusive:
    expected = special.log_softmax(expected, axis=-1)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_views_and_members_share_one_compiled_network():
  shapes = []

  def network(weights, batch):
    shapes.append(batch['image'].shape)  # Only when it is traced.
    return slope(weights, batch)

  members = [np.float32(x) for x in range(3)]
  average = averaging.average(
    [parallel.map_batches(network)] * 3,
    averaging.views_of(['flips', 'turns']),
    exclusive=False,
  )
  batch = parallel.place_batch({'image': IMAGES})
  for _ in range(2):
    average((members, None, None), batch)
  assert shapes == [(BATCH // 4, SIDE, SIDE, 3)]


@pytest.mark.parametrize('exclusive', [False, True])
def test_the_mean_is_that_of_the_probabilities(exclusive):
  parts = np.random.default_rng(1).normal(0, 3, (3, 5, 7, 4))
  parts[:, 0, 0] = [[40.0] * 4, [60.0] * 4, [80.0] * 4]  # 1 - p is below 1e-17.
  got = averaging.mean(list(parts.astype(np.float32)), exclusive=exclusive)
  assert got.dtype == np.float32
  if exclusive:
    expected = np.log(special.softmax(parts, axis=-1).mean(axis=0))
  else:
    p, rest = special.expit(parts), special.expit(-parts)
    expected = np.log(p.mean(axis=0)) - np.log(rest.mean(axis=0))
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)

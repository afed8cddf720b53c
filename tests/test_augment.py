"""Augmentation against NumPy, SciPy and Keras' recipe."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate
import scipy.ndimage

from unet_jax.data import labels
from unet_jax.nn import augment, resample

SIDE = 16
TURNS = augment.Ranges(
  horizontal_flip=True, vertical_flip=True, quarter_turns=True
)
WARP = TURNS._replace(
  rotation_range=25.0,
  width_shift_range=0.2,
  height_shift_range=0.1,
  shear_range=10.0,
  zoom_range=(0.7, 1.3),
)
COLOR = augment.Ranges(brightness=0.2, contrast=0.5, gamma=0.5, color=0.3)
ALL = WARP._replace(
  **{
    **dict(elastic=0.9, blur=1.0, noise=0.1),
    **{name: getattr(COLOR, name) for name in COLOR._fields[9:13]},
  }
)

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
LABEL = rng.choice(np.array([0, 1, 2, 255], np.uint8), (SIDE, SIDE))
PLANES = rng.integers(0, 2, (SIDE, SIDE, 2), np.uint8)


@functools.cache
def compiled(size, ranges):
  return jax.jit(functools.partial(augment.augment, size=size, ranges=ranges))


def run(seed, ranges, image=IMAGE, label=LABEL, size=SIDE):
  changed = compiled(size, ranges)(jax.random.key(seed), image, label)
  return tuple(map(np.asarray, changed))


@functools.cache
def compiled_map(size, window, ranges):
  def places(rng):
    draws = augment.draw(rng, 3)
    matrix, shift = augment.make_affine(draws.affine, size, ranges)
    elastic = ranges.elastic * draws.elastic if ranges.elastic else None
    places = resample.map_coordinates(matrix, shift, elastic, size, window)
    return matrix, shift, jnp.stack(places)

  return jax.jit(places)


def drawn(seed, ranges, size=SIDE, window=SIDE):
  """Returns the matrix, the shift and the places that `run` reads from."""
  arrays = compiled_map(size, window, ranges)(jax.random.key(seed))
  return tuple(np.asarray(x, float) for x in arrays)


def place_of(matrix, shift, size, window):
  """Returns rows and columns to read from, float64[2, size, size]."""
  place = np.mgrid[:size, :size].reshape(2, -1) - (size - 1) / 2
  place = matrix @ place + shift[:, None] + (window - 1) / 2
  return place.reshape(2, size, size)


def test_default_ranges_change_nothing():
  for label in (LABEL, PLANES):
    image, changed = run(0, augment.Ranges(), label=label)
    assert (image.dtype, changed.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(changed, label)


def test_disabled_changes_are_not_compiled():
  def operations(ranges):
    change = functools.partial(augment.augment, size=SIDE, ranges=ranges)
    return str(jax.make_jaxpr(change)(jax.random.key(0), IMAGE, LABEL))

  nothing, everything = operations(augment.Ranges()), operations(ALL)
  for name in ('gather', 'pow', 'erf_inv', 'dot_general', 'exp'):
    assert f' {name}' not in nothing
    assert f' {name}' in everything


def test_draws_do_not_depend_on_which_changes_are_enabled():
  bright = WARP._replace(brightness=0.3)
  image, _ = run(1, bright._replace(**TURNS._asdict() | {'brightness': 0.3}))
  turned, _ = run(1, TURNS)
  draws = augment.draw(jax.random.key(1), 3)
  bias = 255 * 0.3 * float(draws.color[0])
  np.testing.assert_allclose(image, np.clip(turned + bias, 0, 255), atol=1e-3)


def test_flips_and_turns_move_pixels_exactly_as_numpy_does():
  drawn_moves = set()
  for seed in range(40):
    matrix, _, _ = drawn(seed, TURNS)
    expected = {
      tuple(moved.ravel().tolist()): (flip, quarters)
      for flip in (False, True)
      for quarters in range(4)
      for moved in [np.rot90(LABEL[::-1] if flip else LABEL, quarters)]
    }
    image, label = run(seed, TURNS)
    flip, quarters = expected[tuple(label.ravel().tolist())]
    turned = np.rot90(IMAGE[::-1] if flip else IMAGE, quarters)
    np.testing.assert_array_equal(image, turned)
    assert round(np.linalg.det(matrix)) == (-1 if flip else 1)
    drawn_moves.add((flip, quarters))
  assert len(drawn_moves) == 8


@pytest.mark.parametrize(
  ('matrix', 'times'),
  [([[-1, 0], [0, 1]], 2), ([[1, 0], [0, -1]], 2), ([[0, 1], [-1, 0]], 4)],
  ids=['vertical flips', 'horizontal flips', 'quarter turns'],
)
@pytest.mark.parametrize('side', [15, 16])
def test_flips_twice_and_four_quarter_turns_are_the_identity(
  matrix, times, side
):
  matrix = jnp.array(matrix, jnp.float32)
  image, label = IMAGE[:side, :side], LABEL[:side, :side]
  planes = PLANES[:side, :side]
  moved = (image, label, planes)
  places = resample.map_coordinates(matrix, jnp.zeros(2), None, side, side)
  for i in range(times):
    if i == 1:
      assert not np.array_equal(moved[0], image)
    moved = (
      resample.linear(jnp.asarray(moved[0]), *places),
      resample.nearest(jnp.asarray(moved[1]), *places),
      resample.majority(jnp.asarray(moved[2]), *places),
    )
  for a, b in zip(moved, (image, label, planes), strict=True):
    np.testing.assert_array_equal(a, b)


def kerass_matrix(theta, shift, shear, zoom, flips):
  """Does what Keras' apply_affine_transform does, with flips in front.

  Keras works on (x, y), and then swaps these to (row, column). It shifts rows
  by width_shift_range, an old mistake of its own; here the shifts are right.
  """
  theta, shear = np.deg2rad(theta), np.deg2rad(shear)
  cos, sin = np.cos(theta), np.sin(theta)
  rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
  shifted = np.array([[1, 0, shift[1]], [0, 1, shift[0]], [0, 0, 1]])
  sheared = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
  zoomed = np.diag([zoom[1], zoom[0], 1])
  flipped = np.diag([flips[1], flips[0], 1])
  matrix = rotation @ shifted @ sheared @ zoomed @ flipped  # Flips act first.
  matrix[:, [0, 1]] = matrix[:, [1, 0]]
  matrix[[0, 1]] = matrix[[1, 0]]
  return matrix[:2, :2], matrix[:2, 2]


def test_the_map_is_kerass():
  ranges = WARP._replace(quarter_turns=False)
  make = functools.partial(augment.make_affine, size=100, ranges=ranges)
  compiled_make = jax.jit(make)
  for draws in np.random.default_rng(0).uniform(-1, 1, (10, 9)):
    matrix, shift = compiled_make(draws.astype(np.float32))
    expected = kerass_matrix(
      theta=25 * draws[8],
      shift=100 * np.array([0.1, 0.2]) * draws[6:8],
      shear=10 * draws[5],
      zoom=1 + 0.3 * draws[3:5],
      flips=np.where(draws[:2] < 0, -1, 1),
    )
    np.testing.assert_allclose(matrix, expected[0], atol=1e-6)
    np.testing.assert_allclose(shift, expected[1], atol=1e-4)


@pytest.mark.parametrize(
  ('size', 'window'), [(16, 16), (15, 22), (512, 512), (300, 512)]
)
def test_image_and_label_are_scipys_affine_transform(size, window):
  rng = np.random.default_rng(size)
  image = rng.integers(0, 256, (window, window, 1), np.uint8)
  label = rng.integers(0, 5, (window, window)).astype(np.uint8)
  for seed in range(3):
    moved, changed = run(seed, WARP, image, label, size)
    matrix, shift, _ = drawn(seed, WARP, size, window)
    offset = shift + (window - 1) / 2 - matrix @ np.full(2, (size - 1) / 2)
    transform = functools.partial(
      scipy.ndimage.affine_transform,
      matrix=matrix,
      offset=offset,
      output_shape=(size, size),
    )
    expected = transform(image[..., 0].astype(float), order=1, mode='nearest')
    np.testing.assert_allclose(moved[..., 0], expected, atol=255 * 1e-4)
    expected = transform(label, order=0, mode='constant', cval=labels.VOID)
    place = place_of(matrix, shift, size, window)
    is_tie = (np.abs(place % 1 - 0.5) < 1e-3).any(axis=0)
    outside = ((place < -1) | (place > window)).any(axis=0)
    inside = ((place >= 0) & (place <= window - 1)).all(axis=0)
    is_sure = (inside | outside) & ~is_tie
    assert is_sure.mean() > 0.8
    np.testing.assert_array_equal(changed[is_sure], expected[is_sure])


@pytest.mark.parametrize('seed', range(3))
def test_elastic_image_is_scipys_linear_interpolation(seed):
  ranges = WARP._replace(elastic=0.9)
  image, label = run(seed, ranges)
  matrix, shift, place = drawn(seed, ranges)
  straight = place_of(matrix, shift, SIDE, SIDE)
  draws = augment.draw(jax.random.key(seed), 3)
  elastic = 0.9 * np.asarray(draws.elastic, float)
  knots = np.arange(-3, resample.CELLS + 4)
  spline = scipy.interpolate.BSpline(knots, np.eye(resample.POINTS), 3)(
    resample.CELLS * (np.arange(SIDE) + 0.5) / SIDE
  )
  np.testing.assert_allclose(
    place - straight, spline @ elastic @ spline.T, atol=1e-5
  )
  assert 0.1 < np.abs(place - straight).max() <= 0.9
  for i in range(3):
    expected = scipy.ndimage.map_coordinates(
      IMAGE[..., i].astype(float), place, order=1, mode='nearest'
    )
    np.testing.assert_allclose(image[..., i], expected, atol=255 * 1e-4)
  nearest = np.floor(place + 0.5).astype(int)
  inside = ((nearest >= 0) & (nearest < SIDE)).all(axis=0)
  expected = np.full_like(LABEL, labels.VOID)
  expected[inside] = LABEL[tuple(nearest[:, inside])]
  assert (~inside).any()
  np.testing.assert_array_equal(label, expected)


def test_elastic_deformation_by_less_than_a_sixteenth_never_folds():
  """The worst displacements keep the orientation of every small square."""
  size = 64
  spline = resample.spline_basis(size)
  sign = np.array([(-1) ** i for i in range(resample.POINTS)])
  for row, col in itertools.product((sign[:, None], 1), (sign, 1)):
    signs = np.broadcast_to(row * col, (resample.POINTS,) * 2)
    rows = size / 16 * 0.99 * signs
    for cols in (rows, -rows, rows.T):
      moved = np.mgrid[:size, :size] + np.stack(
        [spline @ x @ spline.T for x in (rows, cols)]
      )
      (ya, xa), (yb, xb) = np.diff(moved, axis=1), np.diff(moved, axis=2)
      ya, xa, yb, xb = ya[:, 1:], xa[:, 1:], yb[1:], xb[1:]
      assert (ya * xb - xa * yb).min() > 0


@pytest.mark.parametrize(
  'ranges',
  [
    TURNS,
    WARP,
    augment.Ranges(rotation_range=180.0, zoom_range=(0.7, 1.0)),
    WARP._replace(elastic=4.0),
  ],
)
def test_window_holds_every_pixel_read_and_little_more(ranges):
  size = 128
  window = augment.window_size(size, ranges)
  make = functools.partial(augment.make_affine, size=size, ranges=ranges)
  # Angles matter anywhere in their range, the other draws only at its ends.
  ends = np.array(list(itertools.product((-1, 1), repeat=4)))
  angles = np.linspace(-1, 1, 41)
  draws = np.zeros((len(ends) * len(angles), 9), np.float32)
  draws[:, 3:5] = 1
  draws[:, 5:8] = np.repeat(ends[:, :3], len(angles), axis=0)
  draws[:, 8] = np.tile(angles, len(ends))
  matrix, shift = map(np.asarray, jax.jit(jax.vmap(make))(draws))
  corners = (size - 1) / 2 * np.array(list(itertools.product((-1, 1), (-1, 1))))
  places = np.einsum('nij,cj->nci', matrix, corners) + shift[:, None]
  farthest = np.abs(places).max() + ranges.elastic
  assert farthest <= (window - 1) / 2 + 0.01
  assert (window - 1) / 2 < farthest + 4
  if ranges == TURNS:
    assert window == size


def test_window_shows_more_of_the_image_at_the_corners_of_a_turned_crop():
  ranges = augment.Ranges(rotation_range=45.0)
  window = augment.window_size(SIDE, ranges)
  label = np.zeros((window, window), np.uint8)
  image = np.zeros((window, window, 3), np.uint8)
  for seed in range(10):
    _, changed = run(seed, ranges, image, label)
    assert (changed == 0).all()


def test_no_label_is_invented():
  label = np.where(LABEL == 1, np.uint8(200), np.uint8(3))
  planes = np.where(LABEL[..., None] == 255, np.uint8(255), PLANES)
  for seed in range(10):
    _, changed = run(seed, WARP, label=label)
    assert set(np.unique(changed)) <= {3, 200, labels.VOID}
    _, changed = run(seed, WARP, label=planes)
    assert set(np.unique(changed)) <= {0, 1, labels.VOID}


def planes_by_hand(planes, place):
  """Reads planes like `majority`, one pixel at a time."""
  side, size = planes.shape[0], place.shape[1]
  changed = np.full((size, size, planes.shape[2]), labels.VOID)
  for i, j, k in np.ndindex(*changed.shape):
    row, col = place[:, i, j]
    near = np.floor([row + 0.5, col + 0.5]).astype(int)
    if not ((near >= 0) & (near < side)).all():
      continue
    if planes[near[0], near[1], k] == labels.VOID:
      continue
    row, col = np.clip([row, col], 0, side - 1)
    top, left = min(int(row), side - 2), min(int(col), side - 2)
    ones = known = 0.0
    for down, right in itertools.product((0, 1), repeat=2):
      value = planes[top + down, left + right, k]
      share = abs(1 - down - (row - top)) * abs(1 - right - (col - left))
      known += share * (value != labels.VOID)
      ones += share * (value == 1)
    changed[i, j, k] = abs(ones - known / 2) < 1e-4 or ones > known / 2
  return changed


@pytest.mark.parametrize('seed', range(3))
def test_planes_are_one_where_at_least_half_is(seed):
  planes = np.where(LABEL[..., None] == 255, np.uint8(255), PLANES)
  _, changed = run(seed, WARP, label=planes)
  matrix, shift, _ = drawn(seed, WARP)
  place = place_of(matrix, shift, SIDE, SIDE)
  expected = planes_by_hand(planes, place)
  assert (expected == labels.VOID).any()
  # Rounding decides exactly between two pixels, and at exactly one half.
  assert np.mean(changed != expected) < 0.005


def test_planes_stay_the_threshold_of_their_image():
  planes = PLANES[..., [0, 1, 1]]
  for seed in range(5):
    image, changed = run(seed, WARP, image=200 * planes, label=planes)
    counts = (changed != labels.VOID) & (np.abs(image - 100) > 1e-2)
    assert counts.mean() > 0.5
    np.testing.assert_array_equal((image > 100)[counts], changed[counts] == 1)


def test_image_and_label_move_together():
  """The threshold of a smooth image stays its threshold, inside the image."""
  y, x = np.mgrid[:64, :64] / 63
  image = np.uint8(255 * (0.5 + 0.25 * np.sin(5 * y) + 0.25 * np.cos(4 * x)))
  label = (image > 128).astype(np.uint8)
  ranges = WARP._replace(elastic=3.0)
  for seed in range(5):
    moved, changed = run(seed, ranges, image[..., None], label, size=48)
    counts = changed != labels.VOID
    agree = (moved[..., 0] > 128) == changed
    assert counts.mean() > 0.5
    assert agree[counts].mean() > 0.97


def test_no_gradient_flows_to_the_image():
  _, pull = jax.vjp(
    lambda image: augment.augment(
      jax.random.key(0), image, LABEL, size=SIDE, ranges=WARP
    )[0],
    IMAGE,
  )
  (gradient,) = pull(jnp.ones(IMAGE.shape))
  assert gradient.dtype == jax.dtypes.float0


def test_same_key_draws_the_same_and_others_do_not():
  for a, b in zip(run(3, ALL), run(3, ALL), strict=True):
    np.testing.assert_array_equal(a, b)
  assert not np.array_equal(run(3, ALL)[0], run(4, ALL)[0])


def test_augmentation_does_not_depend_on_the_rest_of_the_batch():
  ranges = WARP._replace(brightness=0.2, contrast=0.2)
  change = functools.partial(augment.augment, size=SIDE, ranges=ranges)

  @jax.jit
  def batch(index):
    rngs = augment.sample_rngs(jax.random.key(0), index)
    example = (jnp.asarray(IMAGE), jnp.asarray(LABEL))
    return jax.vmap(change, (0, None, None))(rngs, *example)

  whole = batch(jnp.array([5, 6, 7, 8]))
  part = batch(jnp.array([8, 6]))
  for a, b in zip(whole, part, strict=True):
    np.testing.assert_allclose(np.asarray(a)[[3, 1]], b, atol=1e-3)
  assert not np.array_equal(whole[0][0], whole[0][1])


def test_angle_zoom_and_shift_stay_in_their_ranges_and_fill_them():
  base = augment.Ranges()
  draws = jax.vmap(lambda rng: augment.draw(rng, 3).affine)(
    jax.random.split(jax.random.key(0), 500)
  )

  def made(**ranges):
    make = functools.partial(
      augment.make_affine, size=100, ranges=base._replace(**ranges)
    )
    return map(np.asarray, jax.vmap(make)(draws))

  turned, _ = made(rotation_range=30.0)
  zoomed, _ = made(zoom_range=(0.7, 1.1))
  sheared, _ = made(shear_range=20.0)
  _, shift = made(height_shift_range=0.1, width_shift_range=0.2)
  for value, low, high in (
    (np.degrees(np.arctan2(turned[:, 0, 1], turned[:, 0, 0])), -30, 30),
    (zoomed[:, 0, 0], 0.7, 1.1),
    (zoomed[:, 1, 1], 0.7, 1.1),
    (np.degrees(-np.arcsin(sheared[:, 1, 0])), -20, 20),
    (shift[:, 0], -10, 10),
    (shift[:, 1], -20, 20),
  ):
    margin = 0.02 * (high - low)
    assert low - 1e-3 <= value.min() < low + margin
    assert high - margin < value.max() <= high + 1e-3
    assert abs(value.mean() - (low + high) / 2) < 3 * margin
  assert abs(np.corrcoef(zoomed[:, 0, 0], zoomed[:, 1, 1])[0, 1]) < 0.15


def test_color_is_gain_then_contrast_then_brightness_then_gamma():
  rng = np.random.default_rng(0)
  for draws in rng.uniform(-1, 1, (5, 6)):
    expected = IMAGE * (1 + 0.3 * draws[3:])
    expected += (expected - expected.mean()) * 0.5 * draws[1]
    expected = np.clip(expected + 255 * 0.2 * draws[0], 0, 255)
    expected = 255 * (expected / 255) ** (1.5 ** draws[2])
    changed = augment.change_color(
      jnp.asarray(draws, jnp.float32), jnp.asarray(IMAGE, jnp.float32), COLOR
    )
    np.testing.assert_allclose(changed, expected, atol=2e-3)


def test_blur_is_scipys():
  image = jnp.asarray(IMAGE, jnp.float32)
  for sigma in (0.0, 0.4, 1.0):
    expected = IMAGE.astype(float)
    for axis in (0, 1) if sigma else ():
      expected = scipy.ndimage.gaussian_filter1d(
        expected, sigma, axis, mode='nearest', radius=3
      )
    blurred = augment.blur(image, jnp.float32(sigma), radius=3)
    np.testing.assert_allclose(blurred, expected, atol=1e-2)


def test_noise_has_mean_zero_and_at_most_its_deviation():
  grey = np.full((64, 64, 3), 128, np.uint8)
  label = np.zeros((64, 64), np.uint8)
  ranges = augment.Ranges(noise=0.1)
  deviations = []
  for seed in range(10):
    image, _ = run(seed, ranges, grey, label, size=64)
    assert abs(image.mean() - 128) < 1
    deviations.append(image.std())
  assert max(deviations) < 255 * 0.1 * 1.05
  assert min(deviations) < 0.5 * max(deviations)


def test_values_stay_in_range():
  wild = ALL._replace(brightness=1.0, contrast=1.0, color=1.0, noise=1.0)
  for seed in range(20):
    image, _ = run(seed, wild)
    assert image.min() >= 0
    assert image.max() <= 255


def test_color_changes_alike_whatever_is_black_and_white():
  low, high = -1000.0, 3000.0
  draws = jnp.asarray([0.5, -0.4, 0.8, 0.9, -0.9, 0.1], jnp.float32)
  image = jnp.asarray(IMAGE, jnp.float32)
  scale = (high - low) / 255
  changed = augment.change_color(draws, image, COLOR)
  other = augment.change_color(draws, low + scale * image, COLOR, (low, high))
  np.testing.assert_allclose(other, low + scale * changed, atol=0.05)


def test_noise_is_a_share_of_the_way_from_black_to_white():
  ranges = augment.Ranges(noise=0.1, gamma=0.5)
  grey = np.full((32, 32, 1), 128, np.uint8)
  label = np.zeros((32, 32), np.uint8)
  key = jax.random.key(0)
  image, deep = (
    augment.augment(key, x, label, size=32, ranges=ranges, limits=(0, white))[0]
    for x, white in ((grey, 255), (257 * grey.astype(np.uint16), 65535))
  )
  np.testing.assert_allclose(deep, 257 * image, rtol=1e-5)

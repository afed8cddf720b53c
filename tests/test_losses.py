"""Every loss against NumPy loops and published formulas, and in edge cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import test_util

from unet_jax.nn import losses

SHAPE = (2, 3, 4, 3)  # [B, H, W, K]
ONES = np.ones(SHAPE[:-1], np.float32)

OVERLAPS = {
  'dice': losses.soft_dice,
  'negative_dice': losses.negative_dice,
  'generalised_dice': losses.generalised_dice,
  'tversky': losses.tversky,
  'focal_tversky': functools.partial(losses.tversky, gamma=4 / 3),
  'cldice': functools.partial(losses.centerline_dice, radius=2),
}
ENTROPIES = {
  f'{name}_{kind}': functools.partial(
    losses.cross_entropy, exclusive=kind == 'softmax', gamma=gamma
  )
  for name, gamma in (('ce', 0.0), ('focal', 2.0), ('weak_focal', 0.5))
  for kind in ('softmax', 'sigmoid')
}
every_overlap = pytest.mark.parametrize('name', OVERLAPS)
every_entropy = pytest.mark.parametrize('name', ENTROPIES)
every_loss = pytest.mark.parametrize('name', [*OVERLAPS, *ENTROPIES])


def loss_on_logits(name):
  """Returns a loss as a function of logits; adds the softmax if needed."""
  if name in ENTROPIES:
    return ENTROPIES[name]

  def loss(logits, *args, **kwargs):
    return OVERLAPS[name](jax.nn.softmax(logits), *args, **kwargs)

  return loss


@functools.cache
def loss_and_grad(name, **settings):
  """Returns a compiled function of logits, targets and weights."""
  return jax.jit(
    jax.value_and_grad(functools.partial(loss_on_logits(name), **settings))
  )


def example(seed=0, shape=SHAPE, soft=False):
  """Returns logits, targets and weights from 0 to 2."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=shape).astype(np.float32)
  label = rng.integers(0, shape[-1], shape[:-1])
  target = np.eye(shape[-1], dtype=np.float32)[label]
  if soft:
    target = rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)
  weight = 2 * rng.random(shape[:-1], np.float32)
  weight *= rng.random(shape[:-1]) < 0.7
  return logits, target, weight


def softmax(logits):
  return np.asarray(jax.nn.softmax(logits))


# Against loops over pixels, in float64.


def sums_by_loop(probs, target, weight, images, k):
  """Returns the weighted sums of p t, p and t of one plane."""
  overlap = predicted = size = 0.0
  for b in images:
    for y in range(probs.shape[1]):
      for x in range(probs.shape[2]):
        p, t, w = probs[b, y, x, k], target[b, y, x, k], weight[b, y, x]
        overlap += float(w) * float(p) * float(t)
        predicted += float(w) * float(p)
        size += float(w) * float(t)
  return overlap, predicted, size


def by_loop(name, sums):
  """Returns a loss from the (overlap, predicted, size) of each plane."""
  if name == 'negative_dice':
    overlap, predicted, size = np.sum(sums, axis=0)
    return -(2 * overlap + 1) / (predicted + size + 1)
  if name == 'generalised_dice':
    shares = [1 / size**2 if size else 0 for _, _, size in sums]
    above = sum(c * o for c, (o, _, _) in zip(shares, sums, strict=True))
    below = sum(c * (p + t) for c, (_, p, t) in zip(shares, sums, strict=True))
    return 1 - 2 * above / below if below else 0.0
  if name == 'dice':
    return np.mean([1 - (2 * o + 1) / (p + t + 1) for o, p, t in sums])
  index = [
    (o + 1) / (o + 0.3 * (p - o) + 0.7 * (t - o) + 1) for o, p, t in sums
  ]
  return np.mean((1 - np.array(index)) ** (0.75 if 'focal' in name else 1))


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('per_image', [False, True])
@pytest.mark.parametrize('name', [n for n in OVERLAPS if n != 'cldice'])
def test_overlap_is_that_of_a_loop_over_pixels(name, per_image, soft):
  logits, target, weight = example(soft=soft)
  probs = softmax(logits)
  want = [
    by_loop(name, [sums_by_loop(probs, target, weight, b, k) for k in range(3)])
    for b in ([[0], [1]] if per_image else [[0, 1]])
  ]
  got = OVERLAPS[name](probs, target, weight, per_image=per_image)
  np.testing.assert_allclose(got, np.mean(want), rtol=1e-5)


@pytest.mark.parametrize('balanced', [False, True])
@pytest.mark.parametrize('soft', [False, True])
@every_entropy
def test_entropy_is_that_of_a_loop_over_pixels(name, soft, balanced):
  logits, target, weight = example(soft=soft)
  exclusive, gamma = 'softmax' in name, ENTROPIES[name].keywords['gamma']
  class_weights = np.array([[0.5, 1, 4], [2, 0, 3]], np.float32)
  if not balanced:
    class_weights = np.ones_like(class_weights)
  total = count = 0.0
  for place in np.ndindex(*SHAPE[:-1]):
    x, w = logits[place].astype(np.float64), float(weight[place])
    p = np.exp(x) / np.exp(x).sum() if exclusive else 1 / (1 + np.exp(-x))
    for k in range(SHAPE[-1]):
      t = float(target[place][k])
      sides = [(class_weights[0, k] * t, p[k])]
      if not exclusive:
        sides.append((class_weights[1, k] * (1 - t), 1 - p[k]))
      for share, q in sides:
        total -= w * share * (1 - q) ** gamma * np.log(q)
        count += w * share
  got = ENTROPIES[name](
    logits, target, weight, class_weights=class_weights if balanced else None
  )
  np.testing.assert_allclose(got, total / count, rtol=2e-5)


# Against other libraries' definitions.


def test_soft_dice_of_softmax_is_optax():
  logits, target, _ = example()
  # One image of many pixels, since optax sums over each image. optax adds its
  # smoothing to the overlap, ours to twice the overlap.
  want = optax.losses.dice_loss(
    jnp.asarray(logits.reshape(1, -1, SHAPE[-1])),
    jnp.asarray(target.reshape(1, -1, SHAPE[-1])),
    smooth=0.5,
  )
  got = losses.soft_dice(softmax(logits), target, ONES, smooth=1.0)
  np.testing.assert_allclose(got, want[0], rtol=1e-5)


@pytest.mark.parametrize('exclusive', [False, True])
def test_cross_entropy_is_optax(exclusive):
  logits, target, _ = example()
  loss_of = (
    optax.softmax_cross_entropy
    if exclusive
    else optax.sigmoid_binary_cross_entropy
  )
  got = losses.cross_entropy(logits, target, ONES, exclusive=exclusive)
  np.testing.assert_allclose(got, np.mean(loss_of(logits, target)), rtol=1e-5)


def test_focal_is_optax():
  logits, target, _ = example()
  want = np.mean(optax.sigmoid_focal_loss(logits, target, gamma=2.0))
  got = losses.cross_entropy(logits, target, ONES, exclusive=False, gamma=2.0)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_negative_dice_is_the_tutorials():
  logits, target, _ = example()
  probs = softmax(logits).astype(np.float64)
  # The tutorial's `dice_coef_loss`, with NumPy in place of Keras' backend.
  intersection = np.sum(target * probs, axis=(1, 2, 3))
  union = np.sum(target, axis=(1, 2, 3)) + np.sum(probs, axis=(1, 2, 3))
  want = -np.mean((2.0 * intersection + 1) / (union + 1), axis=0)
  got = losses.negative_dice(probs, target, ONES, per_image=True)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  # With the batch flattened, as other tutorials write it.
  t, p = target.ravel(), probs.ravel()
  want = -(2 * np.sum(t * p) + 1) / (np.sum(t) + np.sum(p) + 1)
  got = losses.negative_dice(probs, target, ONES)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_tversky_at_one_half_is_dice():
  logits, target, weight = example()
  # Numerator and denominator of Tversky's index are half of Dice's.
  np.testing.assert_allclose(
    losses.tversky(softmax(logits), target, weight, beta=0.5, smooth=0.5),
    losses.soft_dice(softmax(logits), target, weight, smooth=1.0),
    rtol=1e-5,
  )


def test_tversky_above_one_half_asks_for_recall():
  target = np.zeros((1, 4, 4, 1), np.float32)
  target[0, :2] = 1
  weight = np.ones((1, 4, 4), np.float32)
  fewer, more = target.copy(), target.copy()
  fewer[0, 0, 0], more[0, 2, 0] = 0, 1
  assert losses.tversky(fewer, target, weight, beta=0.7) > losses.tversky(
    more, target, weight, beta=0.7
  )


def test_generalised_dice_is_worked_by_hand():
  # One of two pixels of class 1 is missed; all six of class 0 are predicted.
  target = np.zeros((1, 2, 4, 3), np.float32)
  target[0, :, :, 0] = 1
  target[0, 0, :2] = 0, 1, 0
  probs = target.copy()
  probs[0, 0, 0] = 1, 0, 0
  weight = np.ones((1, 2, 4), np.float32)
  above = 6 / 6**2 + 1 / 2**2  # Class 2 is absent and adds nothing.
  below = (6 + 7) / 6**2 + (2 + 1) / 2**2
  got = losses.generalised_dice(probs, target, weight)
  np.testing.assert_allclose(got, 1 - 2 * above / below, rtol=1e-6)


# Edge cases.


@every_loss
def test_a_perfect_prediction_is_best(name):
  _, target, weight = example()
  weight += 0.1
  got = loss_on_logits(name)(100 * (2 * target - 1), target, weight)
  best = -1 if name == 'negative_dice' else 0
  assert got == pytest.approx(best, abs=1e-5)


@every_loss
def test_an_inverted_prediction_is_bad(name):
  _, target, _ = example(shape=(2, 8, 8, 2))
  weight = np.ones((2, 8, 8), np.float32)
  got = loss_on_logits(name)(8 * (1 - 2 * target), target, weight)
  worst = {'negative_dice': 0, 'cldice': 0.9}.get(name, 1)
  if name in OVERLAPS:
    assert got == pytest.approx(worst, abs=0.1)
  else:
    assert got > 7


@pytest.mark.parametrize('name', ['dice', 'tversky', 'focal_tversky', 'cldice'])
def test_an_empty_plane_that_is_predicted_empty_has_no_loss(name):
  nothing = np.zeros(SHAPE, np.float32)
  assert OVERLAPS[name](nothing, nothing, ONES) == pytest.approx(0, abs=1e-5)


def test_generalised_dice_of_empty_planes_is_0():
  nothing = np.zeros(SHAPE, np.float32)
  probs = softmax(example()[0])
  assert losses.generalised_dice(nothing, nothing, ONES) == 0
  assert losses.generalised_dice(probs, nothing, ONES) == 0


def test_generalised_dice_of_an_absent_class_is_that_without_it():
  probs = softmax(example()[0])
  target = np.zeros(SHAPE, np.float32)
  target[:, :, 0, 0] = target[:, :, 1:, 1] = 1
  np.testing.assert_allclose(
    losses.generalised_dice(probs, target, ONES),
    losses.generalised_dice(probs[..., :2], target[..., :2], ONES),
    rtol=1e-6,
  )


@pytest.mark.parametrize('per_image', [False, True])
@every_overlap
def test_overlap_of_only_void_pixels_has_no_gradient(name, per_image):
  logits, target, weight = example()
  loss, grads = loss_and_grad(name, per_image=per_image)(
    logits, target, 0 * weight
  )
  pooled = name == 'negative_dice' and not per_image
  assert loss == pytest.approx(-1 if pooled else 0, abs=1e-5)
  np.testing.assert_array_equal(grads, 0)


@every_entropy
def test_entropy_of_only_void_pixels_has_no_gradient(name):
  logits, target, weight = example()
  loss, grads = loss_and_grad(name)(logits, target, 0 * weight)
  assert loss == 0
  np.testing.assert_array_equal(grads, 0)


@every_loss
def test_void_pixels_change_nothing(name):
  logits, target, weight = example()
  void = weight[..., None] == 0
  loss = loss_on_logits(name)
  np.testing.assert_allclose(
    loss(np.where(void, 50, logits), np.where(void, 0, target), weight),
    loss(logits, target, weight),
    rtol=1e-5,
  )


@every_overlap
def test_an_image_of_void_does_not_enter_the_mean_over_images(name):
  logits, target, weight = example()
  probs = softmax(logits)
  weight[1] = 0
  both = OVERLAPS[name](probs, target, weight, per_image=True)
  first = OVERLAPS[name](probs[:1], target[:1], weight[:1], per_image=True)
  np.testing.assert_allclose(both, first, rtol=1e-6)


@pytest.mark.parametrize('scale', [1e-6, 1e6])
@pytest.mark.parametrize('name', ['generalised_dice', *ENTROPIES])
def test_a_mean_does_not_change_with_the_scale_of_the_weights(name, scale):
  logits, target, weight = example()
  loss = loss_on_logits(name)
  np.testing.assert_allclose(
    loss(logits, target, np.float32(scale) * weight),
    loss(logits, target, weight),
    rtol=1e-5,
  )


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('scale', [1e2, 1e4])
@every_loss
def test_extreme_logits_give_finite_losses_and_gradients(name, scale, soft):
  logits, target, weight = example(soft=soft)
  for sign in (logits, 2 * target - 1, 1 - 2 * target):
    extreme = np.float32(scale) * np.sign(sign)
    loss, grads = loss_and_grad(name)(extreme, target, weight)
    bound = 1 if name in OVERLAPS else 2.1 * scale
    assert np.abs(loss) <= bound + 1e-5
    assert np.all(np.isfinite(grads))
    assert np.max(np.abs(grads)) < 10


@every_loss
def test_gradient_is_that_of_finite_differences(name):
  logits, target, weight = example(seed=1, soft=True)
  with jax.enable_x64():
    args = [np.asarray(x, np.float64) for x in (logits, target, weight)]
    test_util.check_grads(
      lambda x: loss_on_logits(name)(x, *args[1:]),
      args[:1],
      order=1,
      modes=['rev'],
      eps=1e-5,
      atol=1e-6,
      rtol=1e-4,
    )


@pytest.mark.parametrize('per_image', [False, True])
@every_loss
def test_two_devices_have_the_loss_and_gradient_of_one(name, per_image):
  arrays = example(shape=(4, 3, 4, 3))
  weight = arrays[2]
  weight[:2] *= 0.2  # The devices' parts have different total weights.
  settings = dict(per_image=per_image) if name in OVERLAPS else {}
  alone = loss_and_grad(name, **settings)(*arrays)
  halves = [x.reshape(2, 2, *x.shape[1:]) for x in arrays]
  mapped = jax.vmap(
    loss_and_grad(name, axis_name='data', **settings), axis_name='data'
  )(*halves)
  np.testing.assert_allclose(mapped[0], [alone[0]] * 2, rtol=1e-5)
  # Like the step: averages the devices' gradients.
  grads = np.asarray(mapped[1]).reshape(SHAPE[0] * 2, *SHAPE[1:]) / 2
  np.testing.assert_allclose(grads, alone[1], rtol=1e-4, atol=1e-7)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax.nn import losses

SHAPE = (2, 3, 4, 3)  # [B, H, W, K]


def example(seed=0):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=SHAPE).astype(np.float32)
  label = rng.integers(0, SHAPE[-1], SHAPE[:-1])
  target = np.eye(SHAPE[-1], dtype=np.float32)[label]
  weight = (rng.random(SHAPE[:-1]) < 0.7).astype(np.float32)
  return logits, target, weight


def dice_by_loop(probs, target, weight, smooth, per_image):
  groups = [[i] for i in range(SHAPE[0])] if per_image else [range(SHAPE[0])]
  scores = []
  for images in groups:
    for k in range(SHAPE[-1]):
      overlap = total = 0.0
      for b in images:
        for y in range(SHAPE[1]):
          for x in range(SHAPE[2]):
            p, t, w = probs[b, y, x, k], target[b, y, x, k], weight[b, y, x]
            overlap += w * p * t
            total += w * (p + t)
      scores.append((2 * overlap + smooth) / (total + smooth))
  return 1 - np.mean(scores)


@pytest.mark.parametrize('per_image', [False, True])
def test_soft_dice_is_that_of_a_loop_over_pixels(per_image):
  logits, target, weight = example()
  probs = np.asarray(jax.nn.softmax(logits))
  got = losses.soft_dice(probs, target, weight, smooth=0.5, per_image=per_image)
  want = dice_by_loop(probs, target, weight, 0.5, per_image)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_perfect_prediction_has_no_loss_and_inverted_nearly_all():
  _, target, _ = example()
  weight = np.ones(SHAPE[:-1], np.float32)
  assert losses.soft_dice(target, target, weight) == pytest.approx(0, abs=1e-6)
  inverted = losses.soft_dice(1 - target, target, weight, smooth=1e-6)
  assert inverted == pytest.approx(1, abs=1e-5)


def test_empty_plane_that_is_predicted_empty_has_no_loss():
  nothing = np.zeros(SHAPE, np.float32)
  weight = np.ones(SHAPE[:-1], np.float32)
  assert losses.soft_dice(nothing, nothing, weight) == 0


def test_an_image_without_counted_pixels_does_not_enter_dice_per_image():
  logits, target, weight = example()
  probs = np.asarray(jax.nn.softmax(logits))
  weight[1] = 0
  both = losses.soft_dice(probs, target, weight, per_image=True)
  first = losses.soft_dice(probs[:1], target[:1], weight[:1], per_image=True)
  np.testing.assert_allclose(both, first, rtol=1e-6)


def test_losses_of_void_alone_are_finite_with_finite_gradients():
  logits, target, weight = example()
  for exclusive in (True, False):
    loss_of = losses.make_loss(
      'dice_ce', exclusive=exclusive, per_image=False, smooth=1.0
    )
    loss, grads = jax.value_and_grad(
      lambda x, f=loss_of: f(x, target, 0 * weight)[0]
    )(logits)
    assert np.isfinite(loss)
    np.testing.assert_array_equal(grads, 0)


def test_soft_dice_of_softmax_is_optax():
  logits, target, _ = example()
  # As one image of many pixels: optax sums over an image alone. It adds its
  # smoothing to the overlap, and ours to twice that.
  want = optax.losses.dice_loss(
    jnp.asarray(logits.reshape(1, -1, SHAPE[-1])),
    jnp.asarray(target.reshape(1, -1, SHAPE[-1])),
    smooth=0.5,
  )
  probs = np.asarray(jax.nn.softmax(logits))
  got = losses.soft_dice(
    probs, target, np.ones(SHAPE[:-1], np.float32), smooth=1.0
  )
  np.testing.assert_allclose(got, want[0], rtol=1e-5)


@pytest.mark.parametrize('exclusive', [True, False])
def test_cross_entropy_is_that_of_a_loop_over_pixels(exclusive):
  logits, target, weight = example()
  total = 0.0
  for place in np.ndindex(*SHAPE[:-1]):
    x, t = logits[place].astype(np.float64), target[place]
    if exclusive:
      probs = np.exp(x) / np.exp(x).sum()
      entropy = -np.sum(t * np.log(probs))
    else:
      probs = 1 / (1 + np.exp(-x))
      entropy = -np.mean(t * np.log(probs) + (1 - t) * np.log(1 - probs))
    total += weight[place] * entropy
  got = losses.cross_entropy(logits, target, weight, exclusive=exclusive)
  np.testing.assert_allclose(got, total / weight.sum(), rtol=1e-5)


def test_void_pixels_change_nothing():
  logits, target, weight = example()
  changed = np.where(weight[..., None] > 0, logits, 50.0)
  for name in ('dice', 'ce', 'dice_ce'):
    loss_of = losses.make_loss(
      name, exclusive=True, per_image=False, smooth=1.0
    )
    np.testing.assert_allclose(
      loss_of(logits, target, weight)[0],
      loss_of(changed, target, weight)[0],
      rtol=1e-6,
    )


def test_sum_is_the_sum_of_its_terms():
  logits, target, weight = example()
  loss_of = losses.make_loss(
    'dice_ce', exclusive=True, per_image=False, smooth=1.0
  )
  loss, terms = loss_of(logits, target, weight)
  assert set(terms) == {'dice_loss', 'cross_entropy'}
  np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)


def test_dice_leaves_background_out_where_classes_exclude():
  logits, target, weight = example()
  probs = np.asarray(jax.nn.softmax(logits))
  loss_of = losses.make_loss(
    'dice', exclusive=True, per_image=False, smooth=1.0
  )
  np.testing.assert_allclose(
    loss_of(logits, target, weight)[0],
    losses.soft_dice(probs[..., 1:], target[..., 1:], weight),
    rtol=1e-6,
  )

"""The weighted sum of losses, and class weights from pixel counts."""

import jax
import numpy as np
import pytest
from sklearn.utils import class_weight

from unet_jax import config as config_lib
from unet_jax import defaults
from unet_jax.nn import losses, objective

SHAPE = (2, 4, 4, 3)  # [B, H, W, K]
OFF = dict.fromkeys(config_lib.TERMS, 0.0)


def example(seed=0):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=SHAPE).astype(np.float32)
  target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, SHAPE[:-1])]
  weight = rng.random(SHAPE[:-1], np.float32)
  return logits, target, weight


def make(*, exclusive=True, pixels=(), **settings):
  return objective.make_loss(
    exclusive=exclusive,
    pixels=pixels,
    **defaults.get_config().loss.to_dict() | OFF | settings,
  )


def test_the_default_is_dice_and_cross_entropy():
  logits, target, weight = example()
  loss_of = objective.make_loss(exclusive=True, **defaults.get_config().loss)
  loss, terms = loss_of(logits, target, weight)
  assert set(terms) == {'dice_loss', 'ce_loss'}
  np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)


@pytest.mark.parametrize('exclusive', [False, True])
def test_the_loss_is_the_weighted_sum_of_terms_reported_unweighted(exclusive):
  shares = {term: 0.5 + i for i, term in enumerate(config_lib.TERMS)}
  loss, terms = make(exclusive=exclusive, **shares)(*example())
  assert set(terms) == {f'{term}_loss' for term in config_lib.TERMS}
  want = sum(shares[term] * terms[f'{term}_loss'] for term in shares)
  np.testing.assert_allclose(loss, want, rtol=1e-6)
  for term in shares:
    loss, reported = make(exclusive=exclusive, **{term: 2.0})(*example())
    assert set(reported) == {f'{term}_loss'}
    np.testing.assert_allclose(reported[f'{term}_loss'], terms[f'{term}_loss'])
    np.testing.assert_allclose(loss, 2 * terms[f'{term}_loss'], rtol=1e-6)


def test_settings_reach_their_terms():
  logits, target, weight = example()
  probs = jax.nn.softmax(logits)
  planes = (probs[..., 1:], target[..., 1:], weight)
  for settings, want in (
    (dict(dice=1.0, smooth=0.1), losses.soft_dice(*planes, smooth=0.1)),
    (
      dict(tversky=1.0, tversky_beta=0.9, tversky_gamma=2.0),
      losses.tversky(*planes, beta=0.9, gamma=2.0),
    ),
    (
      dict(cldice=1.0, cldice_radius=2),
      losses.centerline_dice(*planes, radius=2),
    ),
    (
      dict(focal=1.0, focal_gamma=3.0),
      losses.cross_entropy(logits, target, weight, exclusive=True, gamma=3.0),
    ),
    (
      dict(generalised_dice=1.0, per_image=True),
      losses.generalised_dice(*planes, per_image=True),
    ),
  ):
    got, _ = make(**settings)(logits, target, weight)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_background_is_a_class_to_dice_if_asked():
  logits, target, weight = example()
  probs = np.asarray(jax.nn.softmax(logits))
  for background, first in ((False, 1), (True, 0)):
    np.testing.assert_allclose(
      make(dice=1.0, background=background)(logits, target, weight)[0],
      losses.soft_dice(probs[..., first:], target[..., first:], weight),
      rtol=1e-6,
    )
  np.testing.assert_allclose(
    make(negative_dice=1.0)(logits, target, weight)[0],
    losses.negative_dice(probs, target, weight),
    rtol=1e-6,
  )


def test_planes_that_overlap_have_no_background():
  logits, target, weight = example()
  np.testing.assert_allclose(
    make(exclusive=False, dice=1.0)(logits, target, weight)[0],
    losses.soft_dice(jax.nn.sigmoid(logits), target, weight),
    rtol=1e-6,
  )


def test_an_unknown_term_is_an_error():
  with pytest.raises(KeyError):
    make(hinge=1.0)(*example())


# Class weights.

# One image per row.
LABELS = np.array([[0] * 8 + [1] * 2, [0] * 7 + [2] * 3, [0] * 10])


def pixels_of(planes):
  """Returns the pixel counts that `balance` takes, from bool[N, P, K]."""
  own = planes.sum((0, 1))
  nearby = [
    planes.shape[1] * planes[..., k].any(1).sum() for k in range(len(own))
  ]
  return [
    (*pair, planes[..., 0].size) for pair in zip(own, nearby, strict=True)
  ]


def one_hot(num_classes=3):
  return LABELS[..., None] == np.arange(num_classes)


def test_inverse_frequency_is_scikit_learns_balanced():
  got = objective.balance(pixels_of(one_hot()), exclusive=True, by='inverse')
  want = class_weight.compute_class_weight(
    'balanced', classes=np.arange(3), y=LABELS.ravel()
  )
  np.testing.assert_allclose(got, want[None], rtol=1e-6)
  assert got.dtype == np.float32


def test_inverse_frequency_of_a_plane_balances_it_with_its_complement():
  planes = one_hot()[..., 1:]
  got = objective.balance(pixels_of(planes), exclusive=False, by='inverse')
  want = [
    class_weight.compute_class_weight(
      'balanced', classes=np.array([True, False]), y=planes[..., k].ravel()
    )
    for k in range(2)
  ]
  np.testing.assert_allclose(got, np.transpose(want), rtol=1e-6)


def test_median_frequency_is_worked_by_hand():
  got = objective.balance(pixels_of(one_hot()), exclusive=True, by='median')
  # An image has 10 pixels; class 0 has 25 of 30, 1 has 2 of 10, 2 has 3 of 10.
  shares = np.array([25 / 30, 0.2, 0.3])
  np.testing.assert_allclose(got, 0.3 / shares[None], rtol=1e-6)
  planes = one_hot()[..., 1:]
  got = objective.balance(pixels_of(planes), exclusive=False, by='median')
  shares = np.array([[0.2, 0.3], [0.8, 0.7]])
  np.testing.assert_allclose(got, 0.5 / shares, rtol=1e-6)


@pytest.mark.parametrize('by', ['inverse', 'median'])
def test_an_absent_class_has_weight_0_and_does_not_move_the_others(by):
  for exclusive in (True, False):
    first = 0 if exclusive else 1
    without, with_absent = (
      objective.balance(
        pixels_of(one_hot(n)[..., first:]), exclusive=exclusive, by=by
      )
      for n in (3, 4)
    )
    assert with_absent[0, -1] == 0
    np.testing.assert_array_equal(with_absent[:, :-1], without)


def test_balanced_classes_weigh_alike_in_the_entropies():
  # One of ten pixels has class 1; balanced, both classes weigh the same.
  label = (np.arange(10) == 0).reshape(1, 2, 5)
  target = np.stack([~label, label], axis=-1).astype(np.float32)
  logits = np.zeros_like(target)
  logits[..., 0] = 3.0
  weight = np.ones((1, 2, 5), np.float32)
  pixels = [(9, 10, 10), (1, 10, 10)]
  log_p = np.log([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))])
  plain, _ = make(ce=1.0, pixels=pixels)(logits, target, weight)
  np.testing.assert_allclose(plain, -(9 * log_p[0] + log_p[1]) / 10, rtol=1e-5)
  balanced, _ = make(ce=1.0, class_weights='inverse', pixels=pixels)(
    logits, target, weight
  )
  np.testing.assert_allclose(balanced, -np.mean(log_p), rtol=1e-5)

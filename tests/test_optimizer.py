"""Optimizers against NumPy, step by step; schedules by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax.training import optimizer, parts

LR = 0.1
PARAMS = {
  'down0': {'conv0': {'kernel': np.full((2, 3), 2.0, np.float32)}},
  'merge0': {'norm0': {'scale': np.full(3, -1.5, np.float32)}},
  'head': {'bias': np.array([0.5], np.float32)},
}


def grads(step):
  rng = np.random.default_rng(step)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), PARAMS
  )


def run(tx, num_steps=3, params=PARAMS):
  state = tx.init(params)
  for step in range(num_steps):
    updates, state = tx.update(grads(step), state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def make(**settings):
  return optimizer.make_optimizer(optax.constant_schedule(LR), **settings)


def by_numpy(rule, num_steps=3):
  """Applies a rule, (leaf, gradient, memory, step) -> leaf, to each leaf."""

  def leaf(path, x):
    memory, x = {}, np.asarray(x, np.float64)
    for step in range(num_steps):
      tree = grads(step)
      for key in path:
        tree = tree[key.key]
      x = rule(x, tree.astype(np.float64), memory, step)
    return x

  return jax.tree_util.tree_map_with_path(leaf, PARAMS)


def adam(x, g, memory, step, decay=0.0):
  memory['m'] = 0.9 * memory.get('m', 0) + 0.1 * g
  memory['v'] = 0.999 * memory.get('v', 0) + 0.001 * g**2
  m = memory['m'] / (1 - 0.9 ** (step + 1))
  v = memory['v'] / (1 - 0.999 ** (step + 1))
  return x - LR * (m / (np.sqrt(v) + 1e-8) + decay * x)


def adamw(x, g, memory, step):
  return adam(x, g, memory, step, decay=0.2 if x.ndim > 1 else 0.0)


def sgd(x, g, memory, step):
  memory['m'] = 0.9 * memory.get('m', 0) + g
  return x - LR * (g + 0.9 * memory['m'])


@pytest.mark.parametrize(
  ('name', 'weight_decay', 'rule'),
  [('adam', 0.0, adam), ('adamw', 0.2, adamw), ('sgd', 0.0, sgd)],
)
def test_three_steps_equal_numpys(name, weight_decay, rule):
  params, _ = run(make(name=name, weight_decay=weight_decay))
  expected = by_numpy(rule)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), params, expected
  )


@pytest.mark.parametrize('clip', [0.5, 1e6])
def test_gradients_are_clipped_by_their_global_norm(clip):
  norm = np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(grads(0))))
  assert 0.5 < norm < 1e6
  params, _ = run(make(name='sgd', clip=clip), num_steps=1)
  factor = 1.9 * LR * min(1, clip / norm)
  jax.tree.map(
    lambda new, old, g: np.testing.assert_allclose(
      new, old - factor * g, rtol=1e-5
    ),
    params,
    PARAMS,
    grads(0),
  )


def test_the_learning_rate_decays_from_the_head_to_the_image():
  plain, _ = run(make(name='sgd'), 1)
  scaled, _ = run(make(name='sgd', lr_decay=0.5, depth=2), 1)
  for block, factor in (('head', 1), ('merge0', 1 / 2), ('down0', 1 / 32)):
    jax.tree.map(
      lambda a, b, old, f=factor: np.testing.assert_allclose(
        a - old, f * (b - old), rtol=1e-4
      ),
      scaled[block],
      plain[block],
      PARAMS[block],
    )


def test_a_frozen_part_has_no_state_and_no_update():
  tx = make(stages=parts.stages(('encoder', 'norms'), 0.0, 10), clip=1.0)
  params, state = run(tx)
  for block in ('down0', 'merge0'):
    jax.tree.map(np.testing.assert_array_equal, params[block], PARAMS[block])
  assert np.all(params['head']['bias'] != PARAMS['head']['bias'])
  arrays = [x for x in jax.tree.leaves(state) if x.ndim]
  assert [x.shape for x in arrays] == [
    (1,),
    (1,),
  ]  # Adam's two moments of the head.


def test_an_unfrozen_part_starts_with_a_fresh_state():
  tx = make(stages=parts.stages(('encoder', 'decoder'), 0.5, 4))
  params = [run(tx, n)[0] for n in range(5)]  # After n updates.
  # The decoder is unfrozen after one update, the encoder after two.
  for block, start in (('head', 0), ('merge0', 1), ('down0', 2)):
    for n in range(4):
      (before,), (after,) = map(
        jax.tree.leaves, (params[n][block], params[n + 1][block])
      )
      if n < start:
        np.testing.assert_array_equal(before, after)
      elif n == start:  # Adam's first update is sign(gradient) times LR.
        np.testing.assert_allclose(np.abs(after - before), LR, rtol=1e-4)
      else:
        assert np.any(before != after)


def rates(name, warmup=0.0, total_steps=8, schedule_steps=0):
  schedule = optimizer.make_schedule(
    name,
    lr=1.0,
    warmup=warmup,
    total_steps=total_steps,
    schedule_steps=schedule_steps,
  )
  return [float(schedule(jnp.int32(i))) for i in range(total_steps + 1)]


def test_schedules_equal_those_worked_out_by_hand():
  cosine = [(1 + np.cos(np.pi * i / 8)) / 2 for i in range(9)]
  np.testing.assert_allclose(rates('cosine'), cosine, atol=1e-7)
  assert rates('constant') == [1.0] * 9
  np.testing.assert_allclose(
    rates('step'), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01], rtol=1e-6
  )


@pytest.mark.parametrize('name', ['cosine', 'constant', 'step'])
def test_a_longer_run_keeps_its_schedule_and_goes_on_by_hand(name):
  rate = rates(name, warmup=0.25, total_steps=12, schedule_steps=8)
  np.testing.assert_allclose(rate[:8], rates(name, warmup=0.25)[:8], rtol=1e-6)
  restart = [0.1 * (1 + np.cos(np.pi * i / 4)) / 2 for i in range(5)]
  later = {'cosine': restart, 'constant': [1] * 5, 'step': [0.01] * 5}[name]
  np.testing.assert_allclose(rate[8:], later, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('name', ['cosine', 'constant', 'step'])
def test_every_schedule_rises_from_zero(name):
  np.testing.assert_allclose(
    rates(name, warmup=0.25)[:3], [0, 0.5, 1], atol=1e-6
  )


@pytest.mark.parametrize('name', ['constant', 'step'])
@pytest.mark.parametrize('total_steps', [1, 2, 3])
def test_schedules_work_for_few_steps(name, total_steps):
  assert np.all(np.isfinite(rates(name, warmup=0.1, total_steps=total_steps)))

"""Collapse: statistics against a loop, states of curves and of real runs."""

import types

import jax
import numpy as np
import pytest

from unet_jax import parallel
from unet_jax.data import sources
from unet_jax.training import collapse, loop, setup
from unet_jax.training import monitor as monitor_lib

HEALTHY = [collapse.LEARNING] * 2


def looped_counts(logits, target, weight, exclusive):
  """Counts pixel by pixel, in float64."""
  logits = logits.astype(np.float64)
  sums = np.zeros((logits.shape[-1], 6))
  pixels = 0
  for place in np.ndindex(weight.shape):
    if not weight[place]:
      continue
    pixels += 1
    z = logits[place]
    if exclusive:
      probs, predicted = np.exp(z) / np.exp(z).sum(), z == z.max()
    else:
      probs, predicted = 1 / (1 + np.exp(-z)), z > 0
    t = target[place]
    sums[:, :5] += np.stack(
      [predicted, t, predicted * t, probs, probs * t], axis=-1
    )
    sums[:, 5] = np.maximum(sums[:, 5], probs)
  sums[:, :5] /= max(pixels, 1)
  return sums


@pytest.mark.parametrize('exclusive', [True, False])
def test_statistics_equal_a_loops_on_any_number_of_devices(exclusive):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4, 5, 6, 3)).astype(np.float32)
  index = rng.integers(0, 3, (4, 5, 6))
  target = (index[..., None] == np.arange(3)).astype(np.float32)
  weight = (rng.random((4, 5, 6)) > 0.3).astype(np.float32)
  logits[weight == 0] = 50.0  # Void pixels don't count.
  expected = looped_counts(logits, target, weight, exclusive)
  alone = collapse.count(logits, target, weight, exclusive=exclusive)
  np.testing.assert_allclose(alone, expected, rtol=1e-5)

  def part(logits, target, weight):
    return collapse.count(
      *(logits, target, weight), exclusive=exclusive, axis_name='data'
    )

  mapped = jax.pmap(part, axis_name='data', out_axes=None)
  shares = (x[:, None] for x in (logits, target, weight))
  np.testing.assert_allclose(mapped(*shares), expected, rtol=1e-5)
  nothing = collapse.count(logits, target, 0 * weight, exclusive=exclusive)
  assert not nothing.any()


def curves(**columns):
  """Returns float[30, 2, 6]: a class that is learnt, and one with `columns`."""
  given = dict(predicted=0.02, true=0.03, hit=0.015, mass=0.03, soft=0.016)
  good = [np.full(30, value) for value in given.values()]
  other = [np.broadcast_to(x, 30) for x in (given | columns).values()]
  peak = np.full(30, 0.9)
  return np.stack(
    [np.stack([*good, peak], -1), np.stack([*other, peak], -1)], axis=1
  )


def judged(planes, missed_steps=(0, 0), before=HEALTHY):
  return collapse.judge(planes, missed_steps, before)


def test_a_class_that_is_predicted_is_learning():
  assert judged(curves()) == HEALTHY


def test_a_class_that_gets_no_probability_is_dead():
  planes = curves(predicted=0, hit=0, mass=1e-6, soft=3e-8)
  assert judged(planes) == ['learning', 'dead class']


def test_a_class_that_is_guessed_by_its_share_is_dead():
  # Its probability is 3 % everywhere, on its own 3 % of the pixels too.
  planes = curves(predicted=0, hit=0, mass=0.03, soft=0.03 * 0.03)
  assert judged(planes) == ['learning', 'dead class']


def test_a_class_that_is_missed_but_distinguished_is_learning():
  # Red lesions in a healthy run at step 50: never the most likely class, but
  # six times as likely on their own pixels as elsewhere.
  planes = curves(predicted=5e-4, hit=5e-5, mass=0.03, soft=0.18 * 0.03)
  assert judged(planes) == HEALTHY


def test_a_class_whose_probability_grows_is_learning():
  soft = np.linspace(0.5, 1.5, 30) * 0.03 * 0.03
  assert judged(curves(predicted=0, hit=0, soft=soft)) == HEALTHY


def test_a_class_that_is_missed_for_long_is_dead_though_distinguished():
  planes = curves(predicted=0, hit=0, soft=0.18 * 0.03)
  assert judged(planes, (0, collapse.PATIENCE - 1)) == HEALTHY
  assert judged(planes, (0, collapse.PATIENCE)) == ['learning', 'dead class']


def test_a_class_that_does_not_occur_is_not_dead():
  assert judged(curves(predicted=0, true=0, hit=0, mass=0, soft=0)) == HEALTHY


def test_all_occurring_classes_dead_is_background_collapse():
  dead = curves(predicted=0, hit=0, soft=0)[:, 1:]
  absent = curves(predicted=0, true=0, hit=0, soft=0)[:, 1:]
  both = [collapse.COLLAPSE] * 2
  assert judged(np.concatenate([dead, dead], axis=1)) == both
  assert judged(np.concatenate([dead, absent], axis=1)) == [
    *('background collapse', 'learning')
  ]


def test_a_class_everywhere_is_a_flood_unless_it_recedes():
  flood = dict(hit=0.03, mass=0.9, soft=0.9 * 0.03)
  assert judged(curves(predicted=0.99, **flood)) == [
    *('learning', 'foreground flood')
  ]
  receding = np.linspace(1, 0.7, 30)
  assert judged(curves(predicted=receding, **flood)) == HEALTHY
  # A class may be predicted on most pixels if most pixels belong to it.
  assert (
    judged(curves(predicted=0.9, true=0.8, hit=0.79, mass=0.9, soft=0.79))
    == HEALTHY
  )


def test_a_new_state_is_reported_once():
  monitor, reports = monitor_lib.Monitor(), []

  def add(planes, steps):
    for _ in range(steps):
      monitor.add(1.0, 0, planes[0].astype(np.float32))
      reports.append((monitor.num_steps, monitor.judge(('a', 'b'), {})))

  add(curves(predicted=0, hit=0, soft=0), 100)
  fault = monitor.faults(('a', 'b'), {})
  assert fault.startswith('dead class (b): the class is rare, ')
  assert 'lower config.optim.lr' in fault
  add(curves(), 60)
  said = [(step, lines) for step, lines in reports if lines]
  assert [step for step, _ in said] == [50, 102]
  (_, dead), (_, well) = said
  assert len(dead) == 2
  assert dead[0].startswith(
    'dead class: in the last 30 steps 3.00% of the pixels are b, 0.00% are '
    'predicted as b (recall 0.00%, '
  )
  assert 'config.optim.lr' in dead[1]
  assert len(well) == 1
  assert well[0].startswith('learning: ')
  assert monitor.faults(('a', 'b'), {}) == ''


def test_what_a_run_has_already_is_not_advised():
  both = 'set config.loss.ce=1 and config.loss.class_weights=inverse, '
  for state in (collapse.DEAD, collapse.COLLAPSE):
    assert both in collapse.remedy(state, {'ce': 0.0, 'class_weights': 'none'})
    text = collapse.remedy(state, {'ce': 1.0, 'class_weights': 'none'})
    assert 'set config.loss.class_weights=inverse, ' in text
    assert 'config.loss.ce' not in text
    text = collapse.remedy(state, {'ce': 1.0, 'class_weights': 'median'})
    assert 'config.loss' not in text


def train(load_config, monkeypatch, plant=None, **overrides):
  """Trains on bright squares; returns what was said, and the monitor."""
  config = load_config('binary:tiny', total_steps=60, eval_every=60)
  config.update(batch_size=4, image_size=16, save_every=60)
  config.model.update(depth=1)
  config.update_from_flattened_dict(overrides)
  examples = []
  for i in range(8):
    rng = np.random.default_rng(i)
    label = np.zeros((16, 16), np.uint8)
    y, x = rng.integers(2, 10, 2)
    label[y : y + 4, x : x + 4] = 1
    image = rng.integers(0, 100, (16, 16, 3)) + 120 * label[..., None]
    examples.append(
      dict(name=f'im{i}', image=image.astype(np.uint8), label=label)
    )
  stats = sources.Stats(('squares',), (60.0,) * 3, (40.0,) * 3)
  dataset = sources.Dataset({'train': examples}, stats)
  run = setup.make_run(config, stats)
  state = run.init()
  if plant:
    state = plant(state)
  said = []
  monkeypatch.setattr(loop.checkpoint, 'save', lambda *args: None)
  log = types.SimpleNamespace(
    write=lambda *args: None,
    warn=lambda step, text: said.extend((step, x) for x in text.splitlines()),
  )
  monitor = monitor_lib.Monitor()
  state = parallel.replicate(state)
  loop.train(
    *(config, dataset, run, state),
    steps_done=0,
    monitor=monitor,
    manager=None,
    log=log,
  )
  return said, monitor


def with_head_bias(value):
  def plant(state):
    params = jax.tree.map(lambda x: x, state.params)
    bias = params['head']['bias']
    params['head']['bias'] = jax.numpy.full_like(bias, value)
    return state.replace(params=params)

  return plant


@pytest.mark.parametrize(
  ('bias', 'state'),
  [(-30.0, collapse.COLLAPSE), (30.0, collapse.FLOOD)],
)
def test_a_planted_collapse_is_detected_within_50_steps(
  load_config, monkeypatch, bias, state
):
  said, monitor = train(load_config, monkeypatch, with_head_bias(bias))
  step, text = said[0]
  assert step <= 50
  assert text.startswith(f'{state}: ')
  assert len(said) == 2  # The state and its remedy, once.
  assert monitor.faults(('squares',), {}).startswith(f'{state} (squares): ')


@pytest.mark.parametrize(('dice', 'ce'), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_healthy_run_is_not_called_collapsed(
  load_config, monkeypatch, dice, ce
):
  weights = {'loss.dice': dice, 'loss.ce': ce}
  said, monitor = train(load_config, monkeypatch, **weights)
  assert said == []
  assert monitor.states == [collapse.LEARNING]

"""The optimizer and its learning-rate schedule."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from unet_jax.training import parts as parts_lib

RESTART = 0.1  # Share of the learning rate at which cosine begins anew.


def make_schedule(
  name: str,
  *,
  lr: float,
  warmup: float,
  total_steps: int,
  schedule_steps: int = 0,
) -> optax.Schedule:
  """Builds a schedule, step -> learning rate, with a linear warm-up from 0.

  Args:
    name: `cosine`, decays to 0; `constant`; `step`, drops to a tenth at half of
      the steps and to a hundredth at three quarters (He et al. 2016,
      arXiv:1512.03385, section 4.2).
    lr: highest learning rate.
    warmup: share of the steps that are warm-up.
    total_steps: number of steps of the run.
    schedule_steps: number of steps that the above refers to; 0 for all steps.
      In later steps `constant` and `step` keep their last rate; `cosine` begins
      anew at a tenth of `lr`, a warm restart, and decays to 0 at the end
      (Loshchilov and Hutter 2017, arXiv:1608.03983).
  """
  length = schedule_steps or total_steps
  warmup_steps = min(int(warmup * length), length - 1)
  if name == 'cosine':
    fall = optax.warmup_cosine_decay_schedule(0.0, lr, warmup_steps, length)
    if length >= total_steps:
      return fall
    again = optax.cosine_decay_schedule(RESTART * lr, total_steps - length)
    return optax.join_schedules([fall, again], [length])
  drops = {length // 2: 0.1, length * 3 // 4: 0.1}
  body = optax.piecewise_constant_schedule(lr, drops if name == 'step' else {})
  if not warmup_steps:
    return body
  rise = optax.linear_schedule(0.0, 1.0, warmup_steps)
  return lambda step: rise(step) * body(step)


def make_optimizer(
  schedule: optax.Schedule,
  *,
  name: str = 'adam',
  weight_decay: float = 0.0,
  clip: float = 0.0,
  stages: parts_lib.Stages = parts_lib.ALL_TRAIN,
  lr_decay: float = 1.0,
  depth: int = 0,
) -> optax.GradientTransformation:
  """Builds the transformation of gradients into updates.

  Args:
    schedule: step -> learning rate.
    name: `adam` (Kingma and Ba 2015), `adamw` (Loshchilov and Hutter 2019), or
      `sgd` with a Nesterov momentum of 0.9.
    weight_decay: weight decay of kernels, for adamw; norms and biases have
      none.
    clip: largest global norm of the gradients; 0 for no clipping.
    stages: the frozen parts by step, from parts.stages. Parts that are never
      unfrozen have no optimizer state; an unfrozen part starts with a fresh
      state.
    lr_decay: factor of the learning rate for each level of distance from the
      head (Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
    depth: depth of the model; used only if `lr_decay` is not 1.
  """
  rules = [
    *([optax.clip_by_global_norm(clip)] if clip else []),
    _by_stage(_make_rule(name, weight_decay), stages),
    *([_by_depth(lr_decay, depth)] if lr_decay != 1 else []),
    optax.scale_by_learning_rate(schedule),
  ]
  return optax.chain(*rules)


def _make_rule(name: str, weight_decay: float) -> optax.GradientTransformation:
  if name == 'sgd':
    return optax.trace(0.9, nesterov=True)
  if name == 'adam':
    return optax.scale_by_adam()
  return optax.chain(
    optax.scale_by_adam(),
    optax.add_decayed_weights(
      weight_decay, mask=lambda params: jax.tree.map(_is_kernel, params)
    ),
  )


def _is_kernel(x: jax.Array) -> bool:  # [kh, kw, C, K]; a bias is [K].
  return x.ndim > 1


def _by_stage(
  rule: optax.GradientTransformation, stages: parts_lib.Stages
) -> optax.GradientTransformation:
  """Applies the rule to each weight from the first stage that trains it."""
  if not stages[0][1]:
    return rule

  def first_stage(path, _):
    trains = (
      i
      for i, (_, frozen) in enumerate(stages)
      if not parts_lib.is_in(path, frozen)
    )
    return next(trains, -1)

  rules = {-1: optax.set_to_zero(), 0: rule}
  for i, (start, _) in enumerate(stages[1:], start=1):
    rules[i] = optax.conditionally_mask(rule, _is_past(start))
  return optax.partition(
    rules, lambda params: parts_lib.map_paths(first_stage, params)
  )


def _is_past(start: int) -> Callable[[jax.Array], jax.Array]:
  return lambda step: step >= jnp.int32(start)


def _by_depth(lr_decay: float, depth: int) -> optax.GradientTransformation:
  """Scales updates by their block's distance from the head."""

  scales = {i: optax.scale(lr_decay**i) for i in range(2 * depth + 2)}

  def label(path, _):
    return parts_lib.distance(path.split('/')[0], depth)

  return optax.partition(
    scales, lambda params: parts_lib.map_paths(label, params)
  )

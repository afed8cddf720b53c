"""The optimizer and its learning rate."""

import optax


def make_optimizer(
  *, lr: float, warmup: float, total_steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """Builds Adam (Kingma and Ba 2015) with warm-up and cosine decay.

  Args:
    lr: highest learning rate.
    warmup: share of the steps in which it rises from 0.
    total_steps: after which it is 0.

  Returns:
    The optimizer, and step -> learning rate.
  """
  warmup_steps = min(int(warmup * total_steps), total_steps - 1)
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, lr, warmup_steps, total_steps
  )
  return optax.adam(schedule), schedule

"""What the host remembers of a run's last steps, and what it makes of it."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from unet_jax.training import collapse

FIRST = 10  # Steps that say what a usual loss is.
TIMES = 100  # As large as the first steps', a loss is lost;
FLOOR = 0.1  # they count as no smaller than this: a loss may begin near 0.
LOST = 20  # Steps in a row with a lost loss end a run,
SKIPPED = 10  # and so do skipped ones.
STILL = 0.01  # Of their size, all steps together: weights that hardly moved.
SMOOTH = 0.5  # Share of the old in the score that early stopping looks at.


@dataclasses.dataclass
class Watch:
  """A run's memory of itself, which goes into each checkpoint as JSON.

  Attributes:
    num_steps: steps seen.
    first_loss: the smallest of the first FIRST.
    num_lost: steps in a row, up to now, whose loss was lost.
    num_skipped: likewise, skipped.
    where: the last skipped step that was looked into went wrong.
    told: where skipped steps went wrong, as last said.
    largest_update: of a step that was looked at: of a part's weights, the share
      by which they moved.
    is_still: whether it was said that they hardly move.
    planes: float[N, K, 6] of the last steps, as collapse.count gives them.
    silent: steps in a row, up to now, in which each plane was missed.
    states: of each foreground class, as last said.
    smoothed: score of validation, averaged; -inf before the first.
    best: the highest of these.
    num_worse: evaluations since.
  """

  num_steps: int = 0
  first_loss: float = math.inf
  num_lost: int = 0
  num_skipped: int = 0
  where: str = ''
  told: str = ''
  largest_update: float = 0.0
  is_still: bool = False
  planes: list = dataclasses.field(default_factory=list)
  silent: list[int] = dataclasses.field(default_factory=list)
  states: list[str] = dataclasses.field(default_factory=list)
  smoothed: float = -math.inf
  best: float = -math.inf
  num_worse: int = 0

  def add(self, loss: float, skipped: int, planes: np.ndarray) -> None:
    """Takes note of a step: scalars, and float32[K, 6]."""
    self.num_steps += 1
    if self.num_steps <= FIRST and math.isfinite(loss):
      self.first_loss = min(self.first_loss, float(loss))
    is_usual = loss <= TIMES * max(self.first_loss, FLOOR)  # NaN is not.
    self.num_lost = 0 if is_usual else self.num_lost + 1
    self.num_skipped = self.num_skipped + 1 if skipped else 0
    if not skipped:
      self.planes = [*self.planes, planes.tolist()][-collapse.WINDOW :]
      is_missed = planes[:, 2] < collapse.MISSED * planes[:, 1]
      silent = np.array(self.silent or [0] * len(planes))
      self.silent = np.where(is_missed, silent + 1, 0).tolist()

  def tell_skipped(self, count: int, of: int) -> list[str]:
    """Says how many of the last steps were skipped, and where, if it's new."""
    # Without the step, which always is: 'in step 7, the weight ...'.
    _, _, told = self.where.partition(', ')
    if told == self.told:
      return []
    self.told = told
    return [
      f'skipped {count} of the last {of} steps (more of the same is not told): '
      f'{self.where}'
    ]

  def tell_still(
    self, metrics: Mapping[str, float], total_steps: int
  ) -> list[str]:
    """Says, once, a quarter into the run, that the weights hardly move.

    Args:
      metrics: of a step.
      total_steps: of the run; the first quarter has the warm-up.
    """
    rates = [v for k, v in metrics.items() if k.startswith('update_ratio_')]
    self.largest_update = max(self.largest_update, *map(float, rates))
    is_early = self.num_steps < max(
      collapse.WARM_UP + collapse.WINDOW, total_steps // 4
    )
    moved = self.num_steps * self.largest_update
    if self.is_still or is_early or not 0 < moved < STILL:
      return []
    self.is_still = True
    return [
      f'the weights hardly move: in {self.num_steps} steps by {moved:.1g} of '
      'their size at most; raise config.optim.lr (2e-3 is usual)'
    ]

  def judge(self, classes: tuple[str, ...]) -> list[str]:
    """Judges the foreground classes, the last planes; says what is new."""
    if (
      self.num_steps < collapse.WARM_UP + collapse.WINDOW
      or len(self.planes) < collapse.WINDOW
    ):
      return []
    before = self.states or [collapse.LEARNING] * len(classes)
    planes = np.array(self.planes)[:, -len(classes) :]
    self.states = collapse.judge(planes, self.silent[-len(classes) :], before)
    new = [i for i, state in enumerate(self.states) if state != before[i]]
    lines = [
      collapse.explain(self.states[i], classes[i], planes[:, i]) for i in new
    ]
    causes = dict.fromkeys(self.states[i] for i in new)
    return lines + [
      f'  {collapse.REMEDIES[state]}'
      for state in causes
      if state in collapse.REMEDIES
    ]

  def faults(self, classes: tuple[str, ...]) -> str:
    """Returns what still stands, 'dead class (a, b): ...', with remedies."""
    found = {}
    for name, state in zip(classes, self.states, strict=False):
      if state != collapse.LEARNING:
        found.setdefault(state, []).append(name)
    return '; '.join(
      f'{state} ({", ".join(names)}): {collapse.REMEDIES[state]}'
      for state, names in found.items()
    )

  def score(self, score: float) -> None:
    """Takes note of an evaluation."""
    old = self.smoothed if math.isfinite(self.smoothed) else score
    self.smoothed = SMOOTH * old + (1 - SMOOTH) * score
    self.num_worse = 0 if self.smoothed > self.best else self.num_worse + 1
    self.best = max(self.best, self.smoothed)


def end_of(watch: Watch, metrics: dict, step: int, total_steps: int) -> str:
  """Says why a run must end after a step; '' if it need not.

  Args:
    watch: of the run.
    metrics: of the step.
    step: its number.
    total_steps: of the run; a short one ends when half of it was skipped.
  """
  remedy = 'and start over with --overwrite'
  rate = f' (now {metrics["learning_rate"]:.2g}; 2e-3 is usual)'
  if watch.num_skipped >= min(SKIPPED, max(1, total_steps // 2)):
    return (
      f'steps {step - watch.num_skipped + 1} to {step} had to be skipped: '
      f'{watch.where}; mend that, or lower config.optim.lr{rate} or set '
      f'config.precision=float32, {remedy}'
    )
  if watch.num_lost >= LOST:
    ratios = {
      name.removeprefix('update_ratio_'): float(value)
      for name, value in metrics.items()
      if name.startswith('update_ratio_')
    }
    part = max(ratios, key=ratios.get)
    return (
      f'the loss is {metrics["loss"]:.4g} at step {step}, and was over {TIMES} '
      f"times the first steps' {watch.first_loss:.4g} for {watch.num_lost} "
      f'steps; the {part} moves most, by {ratios[part]:.2g} of its size a '
      f'step: lower config.optim.lr{rate} {remedy}'
    )
  return ''

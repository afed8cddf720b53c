"""What the host remembers of a run's last steps, and what it makes of it."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from unet_jax.training import collapse

FIRST = 10  # Steps that say what a usual loss is.
TIMES = 100  # As large as the first steps', a loss is lost,
FLOOR = 0.1  # which count as no smaller than this: a loss may begin near 0.
LOST = 20  # Steps with a lost loss in a row end a run,
SKIPPED = 10  # and so do skipped ones.
SMOOTH = 0.5  # Share of the old in the score that early stopping looks at.


@dataclasses.dataclass
class Watch:
  """A run's memory of itself: JSON that goes into each checkpoint.

  Attributes:
    num_steps: steps seen.
    first_loss: the smallest of the first FIRST.
    num_lost: steps in a row, up to now, whose loss was lost.
    num_skipped: likewise, skipped.
    planes: float[N, K, 5] of the last steps, as collapse.count gives them.
    states: of each foreground class, as last said.
    smoothed: score of validation, averaged.
    best: the highest of these.
    num_worse: evaluations since.
  """

  num_steps: int = 0
  first_loss: float = math.inf
  num_lost: int = 0
  num_skipped: int = 0
  planes: list = dataclasses.field(default_factory=list)
  states: list[str] = dataclasses.field(default_factory=list)
  smoothed: float = math.nan
  best: float = -math.inf
  num_worse: int = 0

  def add(self, loss: float, skipped: bool, planes: np.ndarray) -> None:
    """Takes note of a step."""
    self.num_steps += 1
    self.num_skipped = self.num_skipped + 1 if skipped else 0
    if self.num_steps <= FIRST and math.isfinite(loss):
      self.first_loss = min(self.first_loss, float(loss))
    is_fine = loss <= TIMES * max(self.first_loss, FLOOR)  # NaN is not.
    self.num_lost = 0 if is_fine else self.num_lost + 1
    if not skipped:
      self.planes = [*self.planes, planes.tolist()][-collapse.WINDOW :]

  def judge(self, num_foreground: int) -> list[tuple[int, str]]:
    """Returns the foreground classes whose state is another now, and it."""
    if self.num_steps < collapse.WARM_UP + collapse.WINDOW:
      return []
    planes = np.array(self.planes)[:, -num_foreground:]
    before = self.states or [collapse.LEARNING] * num_foreground
    self.states = collapse.judge(planes, before)
    return [
      (i, state)
      for i, state in enumerate(self.states)
      if state != before[i]
    ]

  def score(self, score: float) -> None:
    """Takes note of an evaluation."""
    is_first = math.isnan(self.smoothed)
    old = score if is_first else self.smoothed
    self.smoothed = SMOOTH * old + (1 - SMOOTH) * score
    is_better = self.smoothed > self.best
    self.num_worse = 0 if is_better else self.num_worse + 1
    self.best = max(self.best, self.smoothed)

  @property
  def is_collapsed(self) -> bool:
    return any(state in collapse.FAULTS for state in self.states)

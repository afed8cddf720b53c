"""Watches a run on the host: skips, divergence, collapse, early stopping."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax import defaults, errors
from unet_jax.training import collapse

WATCHED = ('loss', 'skipped', 'planes')  # Metrics of every step.
INITIAL_STEPS = 10  # The initial loss is the smallest of these first steps.
DIVERGED = 100  # A loss above DIVERGED x the initial loss counts as diverged.
FLOOR = 0.1  # Lower bound for the initial loss, which may be near 0.
DIVERGED_STEPS = 20  # This many diverged steps in a row end the run.
SKIPPED_STEPS = 10  # This many skipped steps in a row end the run.
HARDLY_MOVED = 0.01  # Total relative update below which a run hardly moves.
SMOOTH = 0.5  # Early stopping: weight of the old smoothed score.
USUAL_LR = defaults.KEYS['optim.lr'].value
META_KEY = 'watch'  # Key in a checkpoint's metadata.


@dataclasses.dataclass
class Monitor:
  """Statistics of a run so far, and what the user has been told about it.

  Every checkpoint stores the fields as JSON under META_KEY, so renaming a field
  makes old runs impossible to resume.

  Attributes:
    num_steps: number of steps added.
    first_loss: the initial loss.
    num_lost: length of the current streak of diverged steps.
    num_skipped: length of the current streak of skipped steps.
    where: the fault of the last skipped step that was traced.
    told: the fault that was last reported to the user.
    largest_update: largest relative update of a part's weights in any reviewed
      step.
    is_still: whether the user has been told that the weights hardly move.
    planes: float[N, K, 6] of the last N steps, from collapse.count.
    silent: for each plane, the current streak of steps that missed it.
    states: last reported state of each foreground class.
    smoothed: smoothed validation score; -inf before the first evaluation.
    best: highest smoothed score.
    num_worse: number of evaluations since the best one.
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

  def to_meta(self) -> dict[str, dict]:
    """Returns the fields as JSON, for a checkpoint's metadata."""
    return {META_KEY: dataclasses.asdict(self)}

  def review(
    self,
    step: int,
    metrics: Mapping[str, float],
    recent: Sequence[Mapping],
    *,
    classes: tuple[str, ...],
    total_steps: int,
    lr: float,
    loss: Mapping[str, Any],
    locate: Callable[[int], str],
  ) -> list[str]:
    """Adds the steps since the last review; returns the new lines to report.

    Args:
      step: number of the last of these steps.
      metrics: metrics of the last step.
      recent: the WATCHED metrics of each step since the last review.
      classes: names of the foreground classes.
      total_steps: number of steps of the run.
      lr: highest learning rate of the run.
      loss: config.loss of the run.
      locate: number of a skipped step -> description of its fault.
    """
    for entry in recent:
      self.add(**entry)
    before = step - len(recent)
    skipped = [i for i, entry in enumerate(recent, 1) if entry['skipped']]
    lines = []
    if skipped:
      # Skipped steps leave the weights unchanged, so the first step of the
      # current streak can be replayed with these weights.
      streak_begin = step - self.num_skipped + 1
      failed = streak_begin if self.num_skipped else before + skipped[-1]
      if failed > before:
        self.where = locate(failed)
      lines += self.report_skipped(len(skipped), len(recent))
    lines += self.report_still(metrics, total_steps, lr)
    return lines + self.judge(classes, loss)

  def check(
    self, step: int, metrics: Mapping[str, float], total_steps: int, lr: float
  ) -> None:
    """Raises InputError if the run must end, before anything more is saved."""
    if reason := self.why_lost(step, metrics, total_steps, lr):
      raise errors.InputError(reason)

  def add(self, loss: float, skipped: int, planes: np.ndarray) -> None:
    """Adds a step; `planes` is float32[K, 6], from collapse.count."""
    self.num_steps += 1
    if self.num_steps <= INITIAL_STEPS and math.isfinite(loss):
      self.first_loss = min(self.first_loss, float(loss))
    # A comparison with NaN is false, so NaN counts as diverged.
    is_usual = loss <= DIVERGED * max(self.first_loss, FLOOR)
    self.num_lost = 0 if is_usual else self.num_lost + 1
    self.num_skipped = self.num_skipped + 1 if skipped else 0
    if not skipped:
      self.planes = [*self.planes, planes.tolist()][-collapse.WINDOW :]
      is_missed = planes[:, 2] < collapse.MISSED * planes[:, 1]
      missed_steps = np.array(self.silent or [0] * len(planes))
      self.silent = np.where(is_missed, missed_steps + 1, 0).tolist()

  def report_skipped(self, count: int, num_steps: int) -> list[str]:
    """Reports how many of the last steps were skipped, if the fault is new."""
    # Drops the step's number, which is always new: 'in step 7, the weight ...'.
    _, _, fault = self.where.partition(', ')
    if fault == self.told:
      return []
    self.told = fault
    return [
      f'skipped {count} of the last {num_steps} steps (a repeated fault is '
      f'reported once): {self.where}'
    ]

  def report_still(
    self, metrics: Mapping[str, float], total_steps: int, lr: float
  ) -> list[str]:
    """Reports once, after a quarter of the run, that the weights hardly move.

    Args:
      metrics: metrics of the last step.
      total_steps: number of steps of the run; the warm-up lies in its first
        quarter.
      lr: highest learning rate of the run.
    """
    ratios = _update_ratios(metrics)
    self.largest_update = max(self.largest_update, *ratios.values())
    is_early = self.num_steps < max(
      collapse.WARM_UP + collapse.WINDOW, total_steps // 4
    )
    moved = self.num_steps * self.largest_update
    if self.is_still or is_early or not 0 < moved < HARDLY_MOVED:
      return []
    self.is_still = True
    return [
      f'the weights hardly move: by at most {moved:.1g} of their norm in '
      f'{self.num_steps} steps; raise {_name_rate(lr, lr < USUAL_LR)}'
    ]

  def judge(
    self, classes: tuple[str, ...], loss: Mapping[str, Any]
  ) -> list[str]:
    """Judges the foreground classes, the last planes; reports new states.

    Args:
      classes: names of the foreground classes.
      loss: config.loss of the run.
    """
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
      f'  {collapse.remedy(state, loss)}'
      for state in causes
      if state in collapse.REMEDIES
    ]

  def why_lost(
    self, step: int, metrics: Mapping[str, float], total_steps: int, lr: float
  ) -> str:
    """Returns why the run must end after a step; '' if it can continue.

    Args:
      step: number of the step.
      metrics: metrics of the step.
      total_steps: number of steps of the run; a short run ends when half of its
        steps in a row were skipped.
      lr: highest learning rate of the run.
    """
    remedy = 'and start over with --overwrite'
    rate = _name_rate(lr, lr > USUAL_LR)
    if self.num_skipped >= min(SKIPPED_STEPS, max(1, total_steps // 2)):
      return (
        f'steps {step - self.num_skipped + 1} to {step} had to be skipped: '
        f'{self.where}; fix that, or lower {rate} or set '
        f'config.precision=float32, {remedy}'
      )
    if self.num_lost >= DIVERGED_STEPS:
      ratios = _update_ratios(metrics)
      part = max(ratios, key=ratios.__getitem__)
      return (
        f'the run diverged: the loss is {metrics["loss"]:.4g} at step {step}, '
        f'and was over {DIVERGED} times the initial loss of '
        f'{self.first_loss:.4g} for {self.num_lost} steps; the {part} changes '
        f'most, by {ratios[part]:.2g} of its norm a step: lower {rate} '
        f'{remedy}'
      )
    return ''

  def faults(self, classes: Sequence[str], loss: Mapping[str, Any]) -> str:
    """Returns the current collapses, 'dead class (a, b): remedy', or ''.

    Takes the arguments of `judge`.
    """
    by_state: dict[str, list[str]] = {}
    for name, state in zip(classes, self.states, strict=False):
      if state != collapse.LEARNING:
        by_state.setdefault(state, []).append(name)
    return '; '.join(
      f'{state} ({", ".join(names)}): {collapse.remedy(state, loss)}'
      for state, names in by_state.items()
    )

  def score(self, score: float) -> None:
    """Adds the validation score of an evaluation."""
    old = self.smoothed if math.isfinite(self.smoothed) else score
    self.smoothed = SMOOTH * old + (1 - SMOOTH) * score
    self.num_worse = 0 if self.smoothed > self.best else self.num_worse + 1
    self.best = max(self.best, self.smoothed)

  def should_stop(self, patience: int) -> bool:
    """Returns whether `patience` evaluations had no new best; 0: never."""
    return 0 < patience <= self.num_worse

  def why_stopped(self) -> str:
    """Returns why early stopping ends the run."""
    return (
      f'stopped early: {self.num_worse} evaluations without a new best of the '
      f'smoothed macro F1, {self.best:.4f}'
    )


def restore(meta: Mapping[str, dict]) -> Monitor:
  """Restores a monitor from the metadata of `to_meta`; {} gives a new one."""
  return Monitor(**meta.get(META_KEY, {}))


def _name_rate(lr: float, is_usual_ahead: bool) -> str:
  """Names the key and its value; the usual one if the remedy leads there."""
  usual = f'; {USUAL_LR:g} is usual' if is_usual_ahead else ''
  return f'config.optim.lr (now {lr:g}{usual})'


def _update_ratios(metrics: Mapping[str, float]) -> dict[str, float]:
  """Returns the relative update of each part, norm(update) / norm(weights)."""
  return {
    name.removeprefix('update_ratio_'): float(value)
    for name, value in metrics.items()
    if name.startswith('update_ratio_')
  }

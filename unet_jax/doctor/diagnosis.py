"""Runs the table of checks on a survey."""

import inspect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data import spec
from unet_jax.data import splits as splits_lib
from unet_jax.data.checks.classes import Tally
from unet_jax.data.checks.finding import SEVERITIES, Finding
from unet_jax.doctor import checks
from unet_jax.doctor.checks import meanings, values
from unet_jax.doctor.survey import Survey


class Facts(NamedTuple):
  """The arguments of checks: a check's parameters have names of these fields.

  The last four are None if no label of the train split can be read. A check
  that takes one of the last four is then skipped.
  """

  survey: Survey
  findings: list[Finding]  # Of the earlier checks.
  codes: list[meanings.MaskFolder]  # Their values are codes of classes.
  levels: list[meanings.MaskFolder]  # A threshold cuts their values.
  classes: tuple[str, ...]  # Foreground.
  encoding: str  # Of the masks; see spec.Spec.
  batch_size: int
  total_steps: int
  num_devices: int
  tallies: dict[str, Tally] | None = None  # By split.
  train: Tally | None = None
  present: dict[str, np.ndarray] | None = None  # Split -> bool[N, K].
  num_train: int | None = None


def diagnose(
  survey: Survey, num_devices: int, *, trials: Sequence[str] = ()
) -> list[Finding]:
  """Runs the checks of the table in its order.

  Args:
    survey: of the data set.
    num_devices: number of devices that share a batch.
    trials: stages to run as well if the data has no error: `step`, `overfit`.

  Returns:
    Every finding, errors first.
  """
  facts = _gather(survey, num_devices)
  findings = _run('data', facts)
  if not has_errors(findings):
    for stage in trials:
      findings += _run(stage, facts)
  return sorted(findings, key=lambda x: SEVERITIES.index(x.severity))


def has_errors(findings: Sequence[Finding]) -> bool:
  """Returns whether a finding is an error."""
  return any(x.severity == 'error' for x in findings)


def tally(survey: Survey) -> dict[str, Tally]:
  """Counts the readable labels by split; a split without any has no entry."""
  tallies = {}
  for split in splits_lib.SPLITS:
    records = [x for x in survey.with_label() if x[0].split == split]
    labelled = [label for _, label in records]
    if labelled:
      tallies[split] = Tally(
        counts=np.array([x.counts for x in labelled]),
        pixels=np.array([x.pixels for x in labelled]),
        void=np.array([x.void for x in labelled]),
        names=[record.path for record, _ in records],
      )
  return tallies


def _gather(survey: Survey, num_devices: int) -> Facts:
  codes, levels = values.gather(survey)
  facts = Facts(
    survey=survey,
    findings=[],
    codes=codes,
    levels=levels,
    classes=survey.classes,
    encoding=spec.read(survey.config).encoding,
    batch_size=survey.config.batch_size,
    total_steps=survey.config.total_steps,
    num_devices=num_devices,
  )
  tallies = tally(survey)
  if 'train' not in tallies:
    return facts
  return facts._replace(
    tallies=tallies,
    train=tallies['train'],
    present={split: x.counts > 0 for split, x in tallies.items()},
    num_train=len(tallies['train'].pixels),
  )


def _run(stage: str, facts: Facts) -> list[Finding]:
  """Calls each function of a stage once, with the facts that it takes."""
  findings: list[Finding] = []
  functions = [check.find for check in checks.CHECKS if check.stage == stage]
  for find in dict.fromkeys(functions):  # A function may have several titles.
    facts = facts._replace(findings=findings)
    names = inspect.signature(find).parameters
    arguments = {name: getattr(facts, name) for name in names}
    if all(value is not None for value in arguments.values()):
      findings += find(**arguments)
  return findings

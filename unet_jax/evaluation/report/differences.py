"""How several runs differ: in their settings, and in their scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet_jax import config as config_lib
from unet_jax import defaults
from unet_jax.evaluation import bootstrap, records, summary
from unet_jax.evaluation.report import run as run_lib

LONG = 80  # Characters that are shown of a setting.


class Table(NamedTuple):
  """A heading and the cells of a table."""

  title: str
  header: list[str]
  rows: list[list[str]]


class Scores(NamedTuple):
  """Differences of the scores of runs from those of the first."""

  names: Sequence[str]  # Of the scores.
  rows: list[tuple[str, list]]  # Run; difference and bounds of each score.
  reasons: list[str]  # Why other runs have no row.
  over: str  # What the bootstrap draws.


def settings(runs: Sequence[run_lib.Run]) -> Table:
  """Compares the settings of several runs, or those of one with the defaults.

  Settings of the machine are left out; see config.MACHINE.
  """
  configs = [run.config for run in runs]
  names, title = [run.name for run in runs], 'Settings that differ'
  if len(runs) == 1:
    configs.insert(0, config_lib.flatten(defaults.get_config()))
    names, title = ['default', 'run'], 'Settings other than the defaults'
  rows = []
  for key in sorted(set().union(*configs) - set(config_lib.MACHINE)):
    values = [_shorten(config.get(key, '')) for config in configs]
    if len(set(values)) > 1:
      rows.append([key, *values])
  return Table(title, ['key', *names], rows)


def _shorten(value: object) -> str:
  """Returns the text of a setting; a tuple that was saved is a list."""
  text = repr(tuple(value) if isinstance(value, list) else value)
  return text if len(text) <= LONG else f'{text[:LONG]} ...'


def scores(runs: Sequence[run_lib.Run]) -> Scores | None:
  """Compares the scores of each run with those of the first; None for one."""
  first, *others = runs
  if not others:
    return None
  names: list[str] = []
  rows, reasons, over = [], [], 'images'
  for run in others:
    before, after = first.splits[0].record, run.splits[0].record
    if before is None or after is None:
      reasons.append(_ask_again(first if before is None else run))
    elif what := _differing(before, after):
      reasons.append(
        f'{first.name} and {run.name} were scored on different {what}, so '
        'their difference has no interval.'
      )
    else:
      names = summary.statistic_names(before)
      rows.append((run.name, _subtract(before, after)))
      is_grouped = len(set(before.groups)) < len(before.names)
      over = 'groups of images' if is_grouped else over
  return Scores(names, rows, reasons, over)


def _ask_again(run: run_lib.Run) -> str:
  return (
    f'The evaluation of {run.name} is of an earlier version; run '
    f'python -m unet_jax.evaluate --workdir {run.name} to compare it.'
  )


def _differing(before: records.Record, after: records.Record) -> str:
  """Returns what two records do not have in common, or ''."""
  if list(before.names) != list(after.names):
    return 'images'
  return '' if list(before.planes) == list(after.planes) else 'classes'


def _subtract(
  before: records.Record, after: records.Record
) -> list[tuple[float, float, float]]:
  """Returns the difference of each score, and its interval of 95 %."""
  bounds = bootstrap.differences(
    (before.counts, after.counts),
    lambda counts: summary.statistics(before, counts),
    before.groups,
  )
  old, new = (
    summary.statistics(record, record.counts.sum(axis=0))
    for record in (before, after)
  )
  return list(zip(new - old, *np.transpose(bounds), strict=True))

"""Reads the folder of a run for its report."""

import json
import pathlib
from typing import NamedTuple

from unet_jax import config as config_lib
from unet_jax import errors, text_files
from unet_jax.evaluation import records

SPLITS = ('test', 'val', 'train')  # The first that was scored matters most.
# The names that training.workdir gives these files.
CONFIG, METRICS, JOURNAL = 'config.json', 'metrics.jsonl', 'journal.jsonl'
DOCTOR = 'doctor.json'  # Written by the doctor with --json, if at all.


class Split(NamedTuple):
  """An evaluation."""

  name: str
  report: dict  # From <split>.json; see summary.summarise.
  record: records.Record | None  # None in a run of an earlier version.


class Run(NamedTuple):
  """What a run has left in its folder."""

  name: str
  config: dict  # By flat keys, such as optim.lr.
  rows: list[dict]  # Of metrics.jsonl.
  journal: list[dict]  # Rows of training.journal; [] in an earlier version.
  findings: list[dict] | None  # Of the doctor; None if it was not asked.
  splits: list[Split]  # In the order of SPLITS; at least one.
  sheet: pathlib.Path  # Panels of the first split's first images.
  pictures: list[tuple[str, pathlib.Path]]  # Titles and panels, first split.


def read(workdir: pathlib.Path) -> Run:
  """Reads a run.

  Raises:
    InputError: if the folder holds no run, or none of its splits is scored.
  """
  remedy = 'give the folder of a run, with config.json in it'
  if not (workdir / CONFIG).exists():
    raise errors.InputError(f'{workdir} holds no run; {remedy}')
  config = config_lib.flatten(config_lib.load(workdir / CONFIG))
  folder = workdir / 'evaluation'
  splits = []
  for name in SPLITS:
    path = folder / f'{name}.json'
    if path.exists():
      report = text_files.read_json(
        path, 'write it anew with unet_jax.evaluate'
      )
      has_record = path.with_suffix('.npz').exists()
      record = records.read(path.with_suffix('.npz')) if has_record else None
      splits.append(Split(name, report, record))
  if not splits:
    raise errors.InputError(
      f'{workdir} has no scores yet; run '
      f'python -m unet_jax.evaluate --workdir {workdir}'
    )
  return Run(
    name=str(workdir),
    config=config,
    rows=_read_rows(workdir / METRICS),
    journal=_read_rows(workdir / JOURNAL),
    findings=_read_findings(workdir / DOCTOR),
    splits=splits,
    sheet=folder / f'{splits[0].name}.png',
    pictures=[
      (title, folder / file)
      for file, title in splits[0].report.get('pictures', {}).items()
    ],
  )


def _read_findings(path: pathlib.Path) -> list[dict] | None:
  """Reads the findings of the doctor; None if it has written none."""
  if not path.exists():
    return None
  remedy = f'write it anew with unet_jax.doctor --json {path}'
  return text_files.read_json(path, remedy)['findings']


def _read_rows(path: pathlib.Path) -> list[dict]:
  """Reads JSON lines; a row that was cut off is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      rows.append(json.loads(line))
    except ValueError:
      continue
  return rows

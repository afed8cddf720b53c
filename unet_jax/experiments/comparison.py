"""Compares warm with cold starts: the same config, steps and images."""

import contextlib
import json
import math
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections

from unet_jax import config as config_lib
from unet_jax import errors, parallel, text_files
from unet_jax.data import sources, spec
from unet_jax.training import loop
from unet_jax.training import workdir as workdir_lib

REPORT = 'comparison.md'


class Curve(NamedTuple):
  """The macro F1 of one run: on val by step, and in the final evaluation."""

  val: Mapping[int, float]
  last: float


def compare(
  source: ml_collections.ConfigDict,
  target: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  num_seeds: int,
) -> str:
  """Trains the source run, then a warm and a cold run for each seed.

  A second call reads the finished runs, and resumes an unfinished one.

  Args:
    source: config of the run that warm runs start from.
    target: config of the warm and cold runs; cold runs ignore `transfer`.
    workdir: folder for the folders of all runs, and for comparison.md.
    num_seeds: number of seeds; config.seed is 0 to `num_seeds` - 1.

  Returns:
    The report, as Markdown.

  Raises:
    InputError: before any run, if a config is wrong or has no val split.
  """
  with _naming_source():
    config_lib.check(source)
  config_lib.check(target)
  wanted = spec.read(target)
  if 'val' not in sources.split_names(wanted, sources.open_layout(wanted)):
    raise errors.InputError(
      'a comparison needs validation images; set '
      'config.data.split.val_share=0.2'
    )
  with _naming_source():
    loop.train_and_evaluate(source, workdir / 'source')
  cold, warm = [], []
  for seed in range(num_seeds):
    config = target.copy_and_resolve_references()
    config.seed = seed
    warm.append(_run(config, workdir / f'warm-{seed}', workdir / 'source'))
    config.transfer.update(freeze=(), lr_decay=1.0)
    cold.append(_run(config, workdir / f'cold-{seed}'))
  text = report(cold, warm)
  if parallel.is_first():
    text_files.write_text(workdir / REPORT, text + '\n')
  return text


@contextlib.contextmanager
def _naming_source() -> Iterator[None]:
  """Replaces config.KEY by --source.KEY in the text of an error."""
  try:
    yield
  except errors.InputError as error:
    key = r'(?<![\w./])(--)?config\.(?!json)'
    raise errors.InputError(re.sub(key, '--source.', str(error))) from None


def _run(config, workdir: pathlib.Path, init_from: str | pathlib.Path = ''):
  parallel.say(f'\n{workdir}')
  loop.train_and_evaluate(config, workdir, init_from=str(init_from))
  return read(workdir)


def read(workdir: pathlib.Path) -> Curve:
  """Reads the scores of a finished run."""
  rows = [
    json.loads(line)
    for line in (workdir / workdir_lib.METRICS).read_text().splitlines()
  ]
  scores = [
    (row['split'], row['step'], row['macro_f1'] or 0.0)
    for row in rows
    if 'macro_f1' in row
  ]
  val = {step: score for split, step, score in scores if split == 'val'}
  return Curve(val, scores[-1][2])


def report(cold: Sequence[Curve], warm: Sequence[Curve]) -> str:
  """Formats both kinds of runs: a line per seed, then a line per evaluation."""
  seeds = [
    '| seed | cold: final | warm: final | cold reaches its final at step '
    '| warm reaches it at step | cold: test | warm: test |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ]
  for seed, (a, b) in enumerate(zip(cold, warm, strict=True)):
    final = list(a.val.values())[-1]
    seeds.append(
      f'| {seed} | {final:.3f} | {list(b.val.values())[-1]:.3f} '
      f'| {first_at(a, final)} | {first_at(b, final)} '
      f'| {a.last:.3f} | {b.last:.3f} |'
    )
  steps = [
    '| step | cold: mean (lowest, highest) | warm: mean (lowest, highest) |',
    '| --- | --- | --- |',
  ]
  for step in cold[0].val:
    cells = (_spread([curve.val[step] for curve in x]) for x in (cold, warm))
    steps.append(f'| {step} | {" | ".join(cells)} |')
  head = (
    'Macro F1 of the averaged weights on val; `test` scores the best of them.'
  )
  return '\n'.join((head, '', *seeds, '', *steps))


def first_at(curve: Curve, score: float) -> str:
  """Returns the first step whose score is at least `score`, or 'never'."""
  steps = (step for step, value in curve.val.items() if value >= score)
  return str(next(steps, 'never'))


def _spread(values: Sequence[float]) -> str:
  mean = math.fsum(values) / len(values)
  return f'{mean:.3f} ({min(values):.3f}, {max(values):.3f})'

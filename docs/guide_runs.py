"""Trains the runs of the guide, and quotes what they say."""

import contextlib
import io
import json
import pathlib
import shlex
import textwrap
from typing import Any

import guide_sets

from unet_jax import main

FAULT_STEPS = 120  # Of the runs that shall fail.
# What makes each run fail, or succeed after all.
PLAIN = ('model.norm=none', 'loss.dice=0', 'data.foreground_share=0')
FAULTS = {
  'low': ('optim.lr=1e-6',),
  'high': ('optim.lr=1',),
  'collapse': (*PLAIN, 'optim.lr=0.02'),
  'nan': (*PLAIN, 'optim.lr=1e10', 'optim.name=sgd'),
}
MENDED = (*PLAIN, 'optim.lr=0.002', 'loss.class_weights=inverse')
WARM = 'lesions-warm'  # Starts from the weights of vessels-4.
SMALL = ('image_size=128', 'model.width=8', 'eval_every=40', 'save_every=40')


def command(verb: str, *args: str) -> str:
  """Returns a command as the reader types it, in lines of at most 80."""
  lines, line = [], f'unet-jax {verb}'
  for word in map(shlex.quote, args):
    if len(line) + len(word) > 73:
      lines.append(f'{line} \\')
      line = f'  {word}'
    else:
      line += f' {word}'
  return '\n'.join(f'    {x}' for x in [*lines, line])


def quote(text: str) -> str:
  """Returns what a program says as a block; long lines are wrapped."""
  lines = [
    part
    for line in text.splitlines()
    for part in (
      textwrap.wrap(line, 90, subsequent_indent='  ')
      if len(line) > 100  # Tables are narrower.
      else [line]
    )
  ]
  return '\n'.join(f'    {line}'.rstrip() for line in lines)


def keys(*settings: str) -> list[str]:
  """Returns settings as flags."""
  return [f'--config.{setting}' for setting in settings]


class Runs:
  """Trains the runs of the guide, each once, in one folder."""

  def __init__(self, folder: pathlib.Path, sets: guide_sets.Sets, steps: int):
    """Takes the folder of the runs, the data, and the steps of a long run."""
    self.folder, self.sets, self.steps = folder, sets, steps

  def arguments(self, name: str) -> list[str]:
    """Returns the arguments of a run, without its folder."""
    task, _, depth = name.partition('-')
    if task in FAULTS:
      steps = min(FAULT_STEPS, self.steps or FAULT_STEPS)
      given = [*FAULTS[task], *SMALL, f'total_steps={steps}']
      return ['--config', *self.sets.lesions, *keys(*given)]
    sets = self.sets
    args = sets.binary if task == 'vessels' else sets.lesions
    given = ['model.depth=3'] if depth == '3' else []
    given += MENDED if depth == 'mended' else ()
    if self.steps:
      given += [*SMALL, f'total_steps={self.steps}']
    return ['--config', *args, *keys(*given)]

  def all_arguments(self, name: str) -> list[str]:
    """Returns the arguments of a run."""
    more = ['--workdir', str(self.folder / name)]
    if name == WARM:
      more += ['--init_from', str(self.folder / 'vessels-4')]
    return [*self.arguments(name), *more]

  def command(self, name: str) -> str:
    """Returns the command of a run, as the reader types it."""
    return command('train', *self.all_arguments(name))

  def train(self, name: str) -> str:
    """Trains a run unless it is finished; returns the line of its error."""
    print(f'{name} ...', flush=True)
    error = io.StringIO()
    with (
      contextlib.redirect_stderr(error),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      main.main(self.all_arguments(name))
    lines = [x for x in error.getvalue().splitlines() if x.startswith('error')]
    if lines and name not in FAULTS:
      raise SystemExit(f'{name}: {lines[-1]}')
    return lines[-1] if lines else ''

  def series(self, name: str, split: str, key: str, last: int = 0):
    """Returns the steps and values of a metric of a run."""
    text = (self.folder / name / 'metrics.jsonl').read_text()
    rows = list(map(json.loads, text.splitlines()))
    rows = [x for x in rows if x['split'] == split and x.get(key) is not None]
    rows = [x for x in rows if not last or x['step'] <= last]
    return [x['step'] for x in rows], [x[key] for x in rows]

  def said(self, name: str, words: str) -> str:
    """Returns the first line of a run's log that has some words."""
    lines = (self.folder / name / 'train.log').read_text().splitlines()
    return next((x.strip() for x in lines if words in x), '')

  def report(self, name: str) -> dict[str, Any]:
    """Returns the report of a run's test images, evaluation/test.json."""
    return json.loads((self.folder / name / 'evaluation/test.json').read_text())

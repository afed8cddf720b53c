"""Writes the doctor's report as text and as JSON."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np
import rich.console
import rich.markup

from unet_jax import errors
from unet_jax.data.checks.classes import Tally
from unet_jax.data.checks.finding import (
  SEVERITIES,
  Finding,
  command,
  mend,
  percent,
  plural,
  some,
)
from unet_jax.evaluation import scores

COLORS = {'error': 'red', 'warning': 'yellow', 'note': 'cyan'}
SHOWN = 3  # Files of a finding that the text lists.
Table = tuple[str, list[str], list[list[str]]]  # Title, header, rows.


def figures(
  tallies: Mapping[str, Tally], classes: Sequence[str]
) -> dict[str, dict]:
  """Counts classes by split, and scores predictions that ignore the image.

  Returns:
    What JSON can hold; a score of a class that never occurs is None.
  """
  facts = {}
  for split, tally in tallies.items():
    pixels, support = int(tally.pixels.sum()), tally.counts.sum(axis=0)
    blind = scores.trivial(support, pixels)
    facts[split] = {
      'images': len(tally.pixels),
      'pixels': pixels,
      'classes': {
        name: {
          'images': int(np.count_nonzero(tally.counts[:, k])),
          'pixels': int(support[k]),
          'trivial_f1': {
            way: None if np.isnan(f1[k]) else float(f1[k])
            for way, f1 in blind.items()
          },
        }
        for k, name in enumerate(classes)
      },
    }
  return {'splits': facts}


def tables(facts: dict[str, dict]) -> list[Table]:
  """Arranges the result of `figures`: a table per split, a row per class."""
  header = ['class', 'images', 'pixels']
  header += [f'F1 {way}' for way in ('nowhere', 'everywhere', 'prior')]
  by_split = []
  for split, fact in facts['splits'].items():
    rows = [
      [
        name,
        str(row['images']),
        percent(row['pixels'] / max(1, fact['pixels'])),
        *('-' if x is None else f'{x:.4f}' for x in row['trivial_f1'].values()),
      ]
      for name, row in fact['classes'].items()
    ]
    title = f'{split}: {plural(fact["images"], "image")}'
    by_split.append((title, header, rows))
  return by_split


def summary(findings: Sequence[Finding]) -> str:
  """Returns the number of findings of each severity, as text."""
  counts = [sum(x.severity == name for x in findings) for name in SEVERITIES]
  return ', '.join(map(plural, counts, SEVERITIES))


def print_report(
  findings: Sequence[Finding],
  tables: Sequence[Table],
  file: TextIO | None = None,
) -> None:
  """Prints tables and findings, in colour if the terminal has colours.

  Args:
    findings: findings to list.
    tables: from `tables`.
    file: where to print; None: stdout.
  """
  screen = rich.console.Console(file=file, highlight=False, soft_wrap=True)
  for title, header, rows in tables:
    screen.print(rich.markup.escape(f'{title}\n{lay_out(header, rows)}\n'))
  for finding in findings:
    mark = f'[bold {COLORS[finding.severity]}]{finding.severity}[/]'
    text = f'{finding.title}: {finding.text}'
    screen.print(f'{mark} {rich.markup.escape(text)}')
    if finding.files:
      text = some(finding.files, SHOWN)
      screen.print(rich.markup.escape(f'  files: {text}'))
    if mend(finding):
      screen.print(rich.markup.escape(f'  mend: {mend(finding)}'))
  screen.print(summary(findings))


def lay_out(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Aligns the columns: the first one to the left, the others to the right."""
  lines = [header, *rows]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return '\n'.join(
    '  '.join(
      [
        f'{line[0]:<{widths[0]}}',
        *(f'{x:>{n}}' for x, n in zip(line[1:], widths[1:], strict=True)),
      ]
    )
    for line in lines
  )


def to_rows(findings: Sequence[Finding]) -> list[dict]:
  """Returns the fields of the findings, what to type, and the whole remedy."""
  return [
    x._asdict()
    | {'settings': dict(x.settings), 'command': command(x), 'mend': mend(x)}
    for x in findings
  ]


def to_json(findings: Sequence[Finding], facts: dict) -> str:
  """Returns the findings, each with all its files, and `facts` as JSON."""
  tree = {'findings': to_rows(findings), **facts}
  return json.dumps(tree, indent=2) + '\n'


def write(text: str, path: pathlib.Path) -> None:
  """Writes a file, makes its folder if it is missing, and prints the path.

  Raises:
    InputError: if the file cannot be written.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  except OSError as error:
    raise errors.InputError(
      f'{path} cannot be written ({error.strerror or error})'
    ) from None
  print(f'written to {path}')

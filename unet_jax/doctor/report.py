"""Writes the doctor's report as text, as JSON, and as one HTML page."""

import base64
import html
import io
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import rich.console
import rich.markup
from PIL import Image

from unet_jax import errors
from unet_jax.data import files
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

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1340px; color: #222;
  margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; }
h2 { font-size: 1.15em; margin-top: 1.8em; }
table { border-collapse: collapse; }
td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; }
.finding { border-left: 4px solid; margin: .8em 0; padding: .1em .9em; }
.finding b { margin-right: .6em; }
.error { border-color: #d55e00; }
.warning { border-color: #e69f00; }
.note { border-color: #56b4e9; }
code { background: #f2f2f2; padding: .1em .3em; }
img { max-width: 100%; }
details { color: #555; font-size: .9em; }
"""


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


def print_report(findings: Sequence[Finding], tables: Sequence[Table]) -> None:
  """Prints tables and findings, in colour if the terminal has colours."""
  screen = rich.console.Console(highlight=False, soft_wrap=True)
  for title, header, rows in tables:
    screen.print(rich.markup.escape(f'{title}\n{lay_out(header, rows)}\n'))
  for finding in findings:
    mark = f'[bold {COLORS[finding.severity]}]{finding.severity}[/]'
    text = f'{finding.title}: {finding.text}'
    screen.print(f'{mark} {rich.markup.escape(text)}')
    if finding.files and finding.severity != 'note':
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


def to_json(findings: Sequence[Finding], facts: dict) -> str:
  """Returns the findings, each with all its files, and `facts` as JSON."""
  rows = [
    x._asdict() | {'settings': dict(x.settings), 'mend': mend(x)}
    for x in findings
  ]
  return json.dumps({'findings': rows, **facts}, indent=2) + '\n'


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


def write_html(
  path: pathlib.Path,
  title: str,
  findings: Sequence[Finding],
  facts: dict,
  sheets: dict[str, np.ndarray],
) -> None:
  """Writes the page of `to_html`, and its pictures uint8[H, W, 3] beside it."""
  write(to_html(title, findings, tables(facts), sheets), path)
  for i, picture in enumerate(sheets.values()):
    name = f'{path.stem}-{i}.png' if i else f'{path.stem}.png'
    files.write_png(picture, path.with_name(name))


def to_html(
  title: str,
  findings: Sequence[Finding],
  tables: Sequence[Table],
  sheets: dict[str, np.ndarray],
) -> str:
  """Returns a page that needs no other file.

  Args:
    title: title of the page.
    findings: findings to list.
    tables: from `tables`.
    sheets: heading -> picture uint8[H, W, 3].
  """
  escape = html.escape
  parts = [f'<h1>{escape(title)}</h1><p>{summary(findings)}</p>']
  parts += [_finding(finding) for finding in findings]
  for heading, header, rows in tables:
    lines = [_row('th', header), *(_row('td', row) for row in rows)]
    parts.append(f'<h2>{escape(heading)}</h2><table>{"".join(lines)}</table>')
  for heading, picture in sheets.items():
    parts.append(
      f'<h2>{escape(heading)}</h2><img alt="{escape(heading)}" src="'
      f'data:image/png;base64,{_png(picture)}">'
    )
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>'
    f'{escape(title)}</title><style>{_STYLE}</style>{"".join(parts)}</html>\n'
  )


def _finding(finding: Finding) -> str:
  parts = [
    f'<div class="finding {finding.severity}"><p><b>{finding.severity}: '
    f'{html.escape(finding.title)}</b>{html.escape(finding.text)}</p>'
  ]
  if mend(finding):
    remedy, typed = map(html.escape, (finding.remedy, command(finding)))
    typed = f'<code>{typed}</code>' if typed else ''
    parts.append(f'<p>Mend: {" ".join(filter(None, (remedy, typed)))}</p>')
  if finding.files:
    listed = '<br>'.join(map(html.escape, finding.files))
    count = plural(len(finding.files), 'file')
    parts.append(f'<details><summary>{count}</summary>{listed}</details>')
  return ''.join(parts) + '</div>'


def _row(cell: str, texts: Sequence[str]) -> str:
  cells = ''.join(f'<{cell}>{html.escape(x)}</{cell}>' for x in texts)
  return f'<tr>{cells}</tr>'


def _png(picture: np.ndarray) -> str:
  """Encodes uint8[H, W, 3] as PNG, in base64."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, format='PNG')
  return base64.b64encode(buffer.getvalue()).decode()

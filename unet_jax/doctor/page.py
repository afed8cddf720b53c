"""Writes the doctor's report as one HTML page that needs no other file."""

import base64
import datetime
import html
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from unet_jax.data.checks.finding import Finding, command, mend, plural
from unet_jax.doctor import report
from unet_jax.evaluation import pictures

_STYLE = """
.doctor { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif;
  color: light-dark(#222, #ddd); background: light-dark(#fff, #181818);
  max-width: 1340px; margin: 0 auto; padding: 1px 1em 2em; }
.doctor h1 { font-size: 1.4em; overflow-wrap: anywhere; margin: .8em 0 .2em; }
.doctor h2 { font-size: 1.15em; margin: 1.8em 0 .6em; }
.doctor .wide { overflow-x: auto; }
.doctor table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.doctor td, .doctor th { padding: .25em .7em; text-align: right;
  border-bottom: 1px solid light-dark(#ddd, #444); }
.doctor td { white-space: nowrap; }
@media (max-width: 520px) { .doctor table { font-size: .76em; }
  .doctor td, .doctor th { padding: .3em .25em; } }
.doctor td:first-child, .doctor th:first-child { text-align: left;
  padding-left: 0; }
.finding { border-left: 4px solid; margin: .8em 0; padding: .1em .9em;
  overflow-wrap: anywhere; }
.finding b { margin-right: .6em; }
.finding.error { border-color: #d55e00; }
.finding.warning { border-color: #e69f00; }
.finding.note { border-color: #56b4e9; }
.doctor code { background: light-dark(#f2f2f2, #2c2c2c); padding: .1em .3em; }
.doctor details, .doctor .faint { color: light-dark(#555, #aaa);
  font-size: .9em; }
.doctor .grid { display: grid; gap: 1em;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); }
.doctor .whole { grid-template-columns: 1fr; }
.doctor figure { margin: 0; }
.doctor figcaption { font-size: .9em; overflow-wrap: anywhere; }
.doctor img { max-width: 100%; height: auto; display: block; }
.doctor .key { margin-right: 1.2em; display: inline-block; }
.doctor .key i { display: inline-block; width: .8em; height: .8em;
  margin-right: .4em; }
"""
EXPLAINED = (
  'F1 nowhere, everywhere and prior: the scores of predicting the class at no '
  'pixel, at every pixel, and at random with its frequency. A model that has '
  'learnt something beats all three.'
)


class Sheet(NamedTuple):
  """Pictures for a report, below one heading."""

  heading: str
  figures: Sequence[tuple[str, np.ndarray]]  # Caption, uint8[H, W, 3].
  names: Sequence[str] = ()  # Classes for a legend, in the order of colours.


def whole(
  title: str,
  findings: Sequence[Finding],
  tables: Sequence[report.Table],
  sheets: Sequence[Sheet],
) -> str:
  """Returns the page.

  Args:
    title: what was read, such as the folder of the data.
    findings: findings to list.
    tables: from report.tables.
    sheets: pictures to show.
  """
  today = datetime.date.today().isoformat()
  return (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}, {today}</title>'
    '<style>:root { color-scheme: light dark; } body { margin: 0; '
    'background: light-dark(#fff, #181818); }</style>'
    f'{body(findings, tables, sheets, f"{title}, {today}")}</html>\n'
  )


def body(
  findings: Sequence[Finding],
  tables: Sequence[report.Table],
  sheets: Sequence[Sheet] = (),
  heading: str = '',
) -> str:
  """Returns what is on the page, for a notebook or a page; see `whole`."""
  parts = [f'<h1>{html.escape(heading)}</h1>'] if heading else []
  parts.append(f'<p>{report.summary(findings)}</p>')
  parts += [_finding(finding) for finding in findings]
  for title, header, rows in tables:
    parts.append(f'<h2>{html.escape(title)}</h2>{_table(header, rows)}')
  if tables:
    parts.append(f'<p class="faint">{EXPLAINED}</p>')
  parts += [_sheet(sheet) for sheet in sheets]
  return _styled(''.join(parts))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns one table, for a notebook."""
  return _styled(_table(header, rows))


def _styled(inner: str) -> str:
  return f'<style>{_STYLE}</style><div class="doctor">{inner}</div>'


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


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [_row('th', header), *(_row('td', row) for row in rows)]
  return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(cell: str, texts: Sequence[str]) -> str:
  cells = ''.join(f'<{cell}>{html.escape(x)}</{cell}>' for x in texts)
  return f'<tr>{cells}</tr>'


def _sheet(sheet: Sheet) -> str:
  keys = [_key(k, name) for k, name in enumerate(sheet.names)]
  figures = [
    f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,'
    f'{_png(picture)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
    for caption, picture in sheet.figures
  ]
  kind = 'grid' if len(figures) > 1 else 'grid whole'
  return (
    f'<h2>{html.escape(sheet.heading)}</h2><p>{"".join(keys)}</p>'
    f'<div class="{kind}">{"".join(figures)}</div>'
  )


def _key(k: int, name: str) -> str:
  """Returns an entry of the legend: the colour and the name of class k."""
  rgb = ', '.join(f'{x:.0f}' for x in pictures.COLORS[k % len(pictures.COLORS)])
  return (
    f'<span class="key"><i style="background: rgb({rgb})"></i>'
    f'{html.escape(name)}</span>'
  )


def _png(picture: np.ndarray) -> str:
  """Encodes uint8[H, W, 3] as PNG, in base64."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, format='PNG')
  return base64.b64encode(buffer.getvalue()).decode()

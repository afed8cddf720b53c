"""Writes the doctor's report as one HTML page that needs no other file."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unet_jax.data.checks.finding import Finding
from unet_jax.doctor import report
from unet_jax.evaluation import pictures
from unet_jax.pages import render

TEMPLATE = pathlib.Path(__file__).with_name('page.html')


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
  return render.page(TEMPLATE, title, **_values(findings, tables, sheets))


def body(findings: Sequence[Finding], tables: Sequence[report.Table]) -> str:
  """Returns what is on the page, for a notebook; see `whole`."""
  return render.fragment(TEMPLATE, **_values(findings, tables, ()))


def _values(
  findings: Sequence[Finding],
  tables: Sequence[report.Table],
  sheets: Sequence[Sheet],
) -> dict[str, Any]:
  """Returns what the template shows."""
  return {
    'summary': report.summary(findings),
    'findings': report.to_rows(findings),
    'tables': tables,
    'sheets': [
      {
        'heading': sheet.heading,
        'colors': render.colors(sheet.names, pictures.COLORS),
        'figures': [(text, render.png(array)) for text, array in sheet.figures],
      }
      for sheet in sheets
    ],
  }

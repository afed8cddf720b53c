"""Renders the pages of runs and of data: one design, in one file each.

A template extends base.html and takes its parts from parts.html. Its own folder
is searched before this one.
"""

import base64
import datetime
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).parent


def page(template: pathlib.Path, title: str, **values: Any) -> str:
  """Returns a whole page, with the time of its writing.

  Args:
    template: extends base.html.
    title: heading of the page.
    **values: what the template shows.
  """
  written = datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')
  return _render(template, title=title, written=written, **values)


def fragment(template: pathlib.Path, **values: Any) -> str:
  """Returns what a page shows, for a notebook; see `page`."""
  return _render(template, title='', **values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table, for a notebook."""
  return fragment(FOLDER / 'table.html', header=header, rows=rows)


def png(picture: np.ndarray) -> str:
  """Returns uint8[H, W, 3] as a URL that holds a PNG."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, format='PNG')
  return _url('png', buffer.getvalue())


def jpeg(content: bytes) -> str:
  """Returns the bytes of a JPEG as a URL that holds them."""
  return _url('jpeg', content)


def colors(names: Sequence[str], palette: np.ndarray) -> list[tuple[str, str]]:
  """Returns each name with its colour in CSS, for a legend.

  Args:
    names: any number of names.
    palette: float32[N, 3] from 0 to 255, used again from its start.
  """
  chosen = (palette[i % len(palette)] for i in range(len(names)))
  css = ('rgb({:.0f}, {:.0f}, {:.0f})'.format(*color) for color in chosen)
  return list(zip(names, css, strict=True))


def _url(kind: str, content: bytes) -> str:
  text = base64.b64encode(content).decode()
  return f'data:image/{kind};base64,{text}'


def _render(template: pathlib.Path, **values: Any) -> str:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([template.parent, FOLDER]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  style = markupsafe.Markup((FOLDER / 'style.css').read_text())
  return environment.get_template(template.name).render(style=style, **values)

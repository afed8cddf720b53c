"""Drawings as SVG files: networks, and plots with a legend."""

import re
import xml.etree.ElementTree as xml

import numpy as np
from commands import call

from unet_jax.evaluation.report import drawing, plots

PARTS = [
  drawing.Part('down0', (64, 64, 4), 268),
  drawing.Part('down1', (32, 32, 8), 8_960),
  drawing.Part('bottleneck', (16, 16, 16), 14_161_920),
  drawing.Part('up1', (32, 32, 8), 520),
  drawing.Part('up0', (64, 64, 4), 132),
  drawing.Part('head', (64, 64, 3), 15),
]


def texts(svg):
  """Returns {text: its (x, y)} of an SVG file."""
  shapes = [x for x in xml.fromstring(svg).iter() if x.tag.endswith('}text')]
  return {x.text: (float(x.get('x')), float(x.get('y'))) for x in shapes}


def test_a_network_goes_down_on_the_left_and_up_on_the_right():
  place = texts(drawing.network('a network', PARTS))
  assert place['down0'][1] == place['up0'][1] < place['down1'][1]
  assert place['down1'][1] == place['up1'][1] < place['bottleneck'][1]
  assert place['down0'][0] == place['down1'][0] < place['bottleneck'][0]
  assert place['bottleneck'][0] < place['up1'][0] == place['head'][0]


def test_a_network_shows_sizes_once_and_short_numbers():
  svg = drawing.network('a & b', PARTS)
  assert svg.count('64×64') == svg.count('32×32') == svg.count('16×16') == 1
  assert {'268', '9.0k', '14.2M', 'a & b'} <= texts(svg).keys()


def test_a_plot_names_each_line_below_the_axes():
  lines = [
    plots.Line(name, np.arange(3.0), np.arange(3.0)) for name in ('one', 'two')
  ]
  svg = drawing.plot('both', lines, plots.Axis('step'), plots.Axis('loss'))
  place = texts(svg)
  assert plots.HEIGHT < place['one'][1] < place['two'][1]
  height = float(xml.fromstring(svg).get('height'))
  assert place['two'][1] < height


def test_every_colour_of_a_drawing_is_defined_for_light_and_dark_pages():
  light, dark = drawing.STYLE.split('@media')
  used = set(re.findall(r'var\((--\w+)\)', drawing.STYLE))
  assert used == set(re.findall(r'(--\w+):', light))
  assert used == set(re.findall(r'(--\w+):', dark))


def test_show_writes_the_network_with_its_parameters(tmp_path):
  path = tmp_path / 'new/unet.svg'
  done = call('show', '--config', 'multiclass:tiny', '--svg', path)
  assert done.stdout.splitlines()[-1] == f'written to {path}'
  total = done.stdout.splitlines()[-2].split()[1]
  assert f'unet, {total} parameters' in texts(path.read_text())

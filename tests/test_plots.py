"""Line plots as SVG."""

import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

from unet_jax.evaluation.report import plots

NAN = np.nan


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0, 1000, [0, 200, 400, 600, 800, 1000]),
    (-3, 7, [-2, 0, 2, 4, 6]),
    (1e-4, 2e-3, [5e-4, 1e-3, 1.5e-3, 2e-3]),
  ],
)
def test_ticks_are_round_and_few(low, high, expected):
  assert plots.ticks(low, high) == pytest.approx(expected)


def lines_of(figure):
  """Returns the points of each polyline, float64[N, 2]."""
  svg = re.search(r'<svg.*</svg>', figure)[0]
  shapes = [x for x in xml.fromstring(svg).iter() if x.tag == 'polyline']
  return [
    np.array([p.split(',') for p in x.get('points').split()], float)
    for x in shapes
  ]


def draw(x, y, **settings):
  line = plots.Line('a', np.array(x, float), np.array(y, float), **settings)
  share = (0.0, 1.0)
  axes = plots.Axis('x', share), plots.Axis('y', share)
  return plots.plot('title', [line], *axes)


def test_a_line_lies_where_its_points_are():
  (line,) = lines_of(draw([0, 0.5, 1], [0, 1, 0.25]))
  width = plots.WIDTH - plots.LEFT - plots.RIGHT
  height = plots.HEIGHT - plots.TOP - plots.BOTTOM
  expected = [(0, height), (width / 2, 0), (width, 0.75 * height)]
  np.testing.assert_allclose(
    line, np.add(expected, (plots.LEFT, plots.TOP)), atol=0.06
  )


def test_nan_breaks_a_line():
  pieces = lines_of(draw([0, 0.2, 0.4, 0.6, 0.8], [NAN, 0.1, NAN, 0.2, 0.3]))
  assert [len(piece) for piece in pieces] == [1, 2]


def test_a_long_line_is_thinned_out_to_its_last_point():
  x = np.linspace(0, 1, 10_001)
  (line,) = lines_of(draw(x, x))
  assert 300 < len(line) <= plots.MOST_POINTS
  assert line[-1].tolist() == [plots.WIDTH - plots.RIGHT, plots.TOP]


def test_a_constant_line_and_one_without_points_can_be_drawn():
  steps = np.arange(3.0)
  for y in (np.full(3, 2.0), np.full(3, NAN)):
    figure = plots.plot(
      'a', [plots.Line('b', steps, y)], plots.Axis('x'), plots.Axis('y')
    )
    assert 'nan' not in figure


def test_texts_are_escaped():
  figure = plots.plot(
    '<i>', [plots.Line('<b>', np.ones(1), np.ones(1))], *[plots.Axis('<u>')] * 2
  )
  assert not re.search('<[ibu]>', figure)

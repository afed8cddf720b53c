"""Outlines enclose the components of a mask."""

import json

import numpy as np
import scipy.ndimage

from unet_jax.evaluation import polygons


def area(ring):
  """Returns the signed area of a closed ring (the shoelace formula)."""
  (x, y), (x_next, y_next) = np.transpose(ring[:-1]), np.transpose(ring[1:])
  return np.sum(x * y_next - x_next * y) / 2


def test_a_square_with_a_hole():
  plane = np.zeros((20, 30), bool)
  plane[4:14, 5:25] = True
  plane[7:9, 10:20] = False
  ((outer, hole),) = polygons.outline(plane)
  assert outer[0] == outer[-1]
  # Half a pixel is cut off each corner of the outline.
  assert area(outer) == 10 * 20 - 4 * 0.125
  assert area(hole) == -(2 * 10 - 4 * 0.125)
  (left, top), (right, bottom) = np.min(outer, axis=0), np.max(outer, axis=0)
  assert (left, top, right, bottom) == (5, 4, 25, 14)


def test_each_component_has_an_outline(tmp_path):
  plane = np.random.default_rng(0).random((40, 50)) < 0.5
  outlines = polygons.outline(plane)
  assert len(outlines) == scipy.ndimage.label(plane)[1]
  polygons.write({'a': plane, 'b': ~plane[:0]}, tmp_path / 'x.geojson')
  written = json.loads((tmp_path / 'x.geojson').read_text())
  assert written['type'] == 'FeatureCollection'
  assert len(written['features']) == len(outlines)
  feature = written['features'][0]
  assert feature['properties'] == {'class': 'a'}
  assert feature['geometry'] == {
    'type': 'Polygon',
    'coordinates': outlines[0],
  }

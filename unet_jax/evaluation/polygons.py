"""Outlines of masks as GeoJSON (RFC 7946), in pixels instead of degrees."""

import json
import pathlib
from collections.abc import Mapping

import contourpy
import numpy as np

from unet_jax import text_files


def write(planes: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
  """Writes a FeatureCollection of the components of each class.

  x and y count from the upper left corner of the image, to the right and down.
  An outline runs half-way between the middles of pixels of the class and those
  of its neighbours.

  Args:
    planes: bool[H, W] of each class.
    path: of the file.
  """
  features = [
    dict(
      type='Feature',
      properties={'class': name},
      geometry=dict(type='Polygon', coordinates=rings),
    )
    for name, plane in planes.items()
    for rings in outline(plane)
  ]
  collection = dict(type='FeatureCollection', features=features)
  text_files.write_text(path, json.dumps(collection) + '\n')


def outline(plane: np.ndarray) -> list[list[list[list[float]]]]:
  """Returns the outline of each component of bool[H, W].

  Returns:
    For each component its rings, the outer one first and then its holes, each
    a list of [x, y] that ends where it begins.
  """
  lines = contourpy.contour_generator(
    z=np.pad(plane, 1).astype(np.float64), fill_type='OuterOffset'
  )
  components = []
  for points, offsets in zip(*lines.filled(0.5, 2), strict=True):
    points = points - 0.5  # Without the padding, from the corner of a pixel.
    rings = np.split(points, offsets[1:-1])
    components.append([ring.tolist() for ring in rings])
  return components

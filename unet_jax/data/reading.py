"""Reads one example of a data set: stored files -> image and label.

An example is {'name': str, 'image': [H, W, C] of a type of image_kinds.DTYPES,
'label': uint8[H, W], or uint8[H, W, K] for a multilabel task}; see
`labels.decode`. An example also has 'weight_map': float32[H, W] if there is a
map of weights, 'mean' and 'std' if these normalise it, see `moments`, and
'whole_label', the label before all outside of the field of view became void, if
there is one.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from unet_jax import errors
from unet_jax.data import (
  field_of_view,
  files,
  image_files,
  image_kinds,
  labels,
  layout,
  moments,
)
from unet_jax.data.spec import Spec


def make_reader(spec: Spec, opened: layout.Layout) -> Callable[[str], dict]:
  """Builds key -> example, which also has labels.Decoded's other fields."""
  coding = labels.make_coding(spec, opened.classes)

  def read(key: str) -> dict:
    raw, whole = opened.read(key), None
    if isinstance(raw.mask, labels.Decoded):
      decoded = raw.mask
    else:
      decoded = labels.decode(raw.mask, coding, raw.where)
      raw, decoded, whole = _shape(spec, raw, decoded)
    own = raw.own or moments.of_image(raw.image, spec.normalise)
    example = dict(name=raw.name, image=raw.image, **decoded._asdict(), **own)
    if whole is not None:
      example['whole_label'] = whole
    if raw.weight_map is not None:
      example['weight_map'] = raw.weight_map
    return example

  return read


def _shape(
  spec: Spec, raw: layout.Raw, decoded: labels.Decoded
) -> tuple[layout.Raw, labels.Decoded, np.ndarray | None]:
  """Selects channels, marks pixels outside the view as void, and resizes.

  Returns:
    The image, the label, and the label with what is outside of the view; None
    if there is no view.
  """
  image = image_files.keep_channels(raw.image, spec.channels)
  label, view, weight_map = decoded.label, raw.field, raw.weight_map
  whole = None
  is_known = image.dtype.name in image_kinds.DTYPES
  if not is_known or image.shape[:2] != label.shape[:2]:
    raise errors.InputError(
      f'{raw.where}: image {image.dtype}{list(image.shape)} and mask '
      f'{list(label.shape)} must have the same size, and the image values of '
      f'{", ".join(image_kinds.DTYPES)}'
    )
  if spec.fov == 'estimate':
    view = field_of_view.estimate(raw.image)
  if view is not None:
    whole = label.copy()
    label[~view] = labels.VOID
  own = moments.of_image(image, spec.normalise)
  if spec.resize:
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    image = files.rescale(image, spec.resize, box)
    label = files.rescale(label, spec.resize, nearest)
    if whole is not None:
      whole = files.rescale(whole, spec.resize, nearest)
    if weight_map is not None:
      weight_map = files.rescale(weight_map, spec.resize, box)
  raw = raw._replace(image=image, weight_map=weight_map, own=own)
  return raw, decoded._replace(label=label), whole

"""Draws the pictures of the doctor's page."""

import pathlib

import ml_collections
import numpy as np
from PIL import Image

from unet_jax.data import files, image_kinds, sources, spec, stored
from unet_jax.doctor import augmented_sheet, contact_sheet, page
from unet_jax.doctor.survey import Record, Survey
from unet_jax.evaluation import pictures

MOST = 12  # Examples that training refuses.
SIDE = 240  # Longer side of their images and masks, pixels.
NEAREST = Image.Resampling.NEAREST


def augmented(config: ml_collections.ConfigDict) -> np.ndarray:
  """Draws crops as training sees them, uint8[H, W, 3]; reads the data."""
  data_spec = spec.read(config)
  dataset = sources.load(data_spec, sources.open_layout(data_spec))
  return augmented_sheet.make_sheet(config, dataset)


def annotated(survey: Survey) -> page.Sheet:
  """Draws images with the outlines of their masks."""
  return page.Sheet(
    'Annotated images, the rarest class first',
    contact_sheet.make(survey),
    survey.classes,
  )


def refused(survey: Survey) -> list[page.Sheet]:
  """Draws examples that training refuses; [] if there is none."""
  records = [x for x in survey.records if x.refusal and _has_files(x)]
  figures = [
    (f'{record.name}: {record.refusal}', _draw_files(record, survey))
    for record in records[:MOST]
  ]
  heading = 'Refused by training: image, and masks as stored'
  return [page.Sheet(heading, figures)] if figures else []


def _has_files(record: Record) -> bool:
  return record.image is not None and pathlib.Path(record.image.path).is_file()


def _draw_files(record: Record, survey: Survey) -> np.ndarray:
  """Draws an image and its masks side by side: uint8[H, W, 3]."""
  parts = [_as_stored(pathlib.Path(x.path)) for x in record.masks.values()]
  if record.image:
    kind = image_kinds.Kind(pages=spec.read(survey.config).pages)
    _, image = stored.read_image(pathlib.Path(record.image.path), kind)
    image = pictures.to_bytes(np.atleast_3d(image), survey.limits)
    parts.insert(0, files.rescale(_as_color(image), SIDE, NEAREST))
  height = max(part.shape[0] for part in parts)
  gap = np.full((height, pictures.GAP, 3), 255, np.uint8)
  row = []
  for part in parts:
    below = height - part.shape[0]
    part = np.pad(part, ((0, below), (0, 0), (0, 0)), constant_values=255)
    row += [part, gap]
  return np.concatenate(row[:-1], axis=1)


def _as_stored(path: pathlib.Path) -> np.ndarray:
  """Draws a mask, uint8[H, W, 3]; each value gets a grey."""
  _, array = stored.read(path)
  if array.ndim == 2:
    values, ranks = np.unique(array, return_inverse=True)
    grey = ranks.reshape(array.shape) * 255 // max(1, len(values) - 1)
    array = np.repeat(grey[..., None], 3, axis=-1)
  picture = array[..., :3].astype(np.uint8)
  return files.rescale(picture, SIDE, NEAREST)


def _as_color(image: np.ndarray) -> np.ndarray:
  """Returns uint8[H, W, 1 or 3] as uint8[H, W, 3]."""
  return np.repeat(image, 3 // image.shape[-1], axis=-1)

"""Draws examples beside their truth and prediction."""

import pathlib

import numpy as np
from PIL import Image

from unet_jax import parallel
from unet_jax.data import files, labels, sources
from unet_jax.evaluation import decisions, pictures, predictor, records

NUM_PICTURES = 3  # Also of each of the worst, median and best images.
MAX_WIDTH = 1600  # Pixels; width of a panel of four pictures.


def draw(
  model: predictor.Predictor,
  variables: dict,
  source: sources.Examples,
  rule: decisions.Rule = decisions.PLAIN,
) -> list[np.ndarray]:
  """Draws a panel, uint8[H, W, 3], for each of the first examples.

  pictures.panel describes the panels.
  """
  classes, panels = model.classes, []
  examples = [source[i] for i in range(min(NUM_PICTURES, len(source)))]
  logits = predictor.logits_of(model, variables, examples)
  for example, x in zip(examples, logits, strict=True):
    label = example['label']
    planes = decisions.decide(x, classes, rule)
    void = labels.is_void(label)
    panel = pictures.panel(
      pictures.to_bytes(example['image'], model.limits),
      truth=classes.to_planes(label),
      void=void,
      pred=planes[..., -classes.num_foreground :],
    )
    if panel.shape[1] > MAX_WIDTH:
      panel = files.rescale(panel, MAX_WIDTH, Image.Resampling.BOX)
    panels.append(panel)
  return panels


def draw_ranked(
  model: predictor.Predictor,
  variables: dict,
  source: sources.Examples,
  record: records.Record,
  path: pathlib.Path,
  *,
  rule: decisions.Rule,
) -> dict[str, str]:
  """Writes the panels of the worst, median and best images beside `path`.

  Returns:
    {file, relative to the folder of `path`: title}.
  """
  scored = dict(records.rank(record))
  titles: dict[str, str] = {}
  for kind, chosen in records.extremes(list(scored), NUM_PICTURES).items():
    panels = draw(model, variables, [source[i] for i in chosen], rule)
    for i, panel in zip(chosen, panels, strict=True):
      file = f'{path.stem}/{len(titles)}.jpg'
      titles[file] = f'{kind}: {record.names[i]}, macro F1 {scored[i]:.3f}'
      if parallel.is_first():
        files.write_png(panel, path.parent / file)
  return titles

"""The embedded data set: drawn retinal photographs with exact masks.

Nothing is downloaded: every picture is a function of its split and index. The
four kinds of lesion are named after the folders of DIARETDB1.
"""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from unet_jax.data.synthetic_fundus import canvas, photograph

NUM_IMAGES = {'train': 27, 'val': 8, 'test': 20}
_SEED = 1850  # Year of the ophthalmoscope; gives every split healthy eyes.


class SyntheticFundus(tfds.core.GeneratorBasedBuilder):
  """Drawn retinal photographs; TensorFlow isn't needed to build or read it."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}

  def _info(self) -> tfds.core.DatasetInfo:
    size = (canvas.SIZE, canvas.SIZE)
    plane = tfds.features.Image(shape=(*size, 1), encoding_format='png')
    photo = tfds.features.Image(shape=(*size, 3), encoding_format='png')
    return tfds.core.DatasetInfo(
      builder=self,
      description=__doc__,
      features=tfds.features.FeaturesDict(
        {'name': tfds.features.Text(), 'image': photo}
        | dict.fromkeys(photograph.PLANES, plane)
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    del dl_manager
    return {split: self._generate_examples(split) for split in NUM_IMAGES}

  def _generate_examples(self, split: str) -> Iterator:
    for index in range(NUM_IMAGES[split]):
      image, masks = photograph.draw_fundus(make_rng(split, index))
      example = {'name': f'{split}{index:03d}', 'image': _png(image)}
      for name, mask in masks.items():
        example[name] = _png(np.uint8(255) * mask)
      yield index, example


def make_rng(split: str, index: int) -> np.random.Generator:
  """Returns the random generator of one picture of the data set."""
  return np.random.default_rng((_SEED, list(NUM_IMAGES).index(split), index))


def _png(array: np.ndarray) -> bytes:
  """Encodes uint8[H, W] or [H, W, 3] as PNG; TFDS would need TensorFlow."""
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, format='PNG')
  return buffer.getvalue()


def make_builder(root: str) -> SyntheticFundus:
  """Prepares the data set under `root`, and returns its builder.

  TFDS writes to a temporary folder and renames the folder when it is complete.
  """
  builder = SyntheticFundus(data_dir=root)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints progress.
      builder.download_and_prepare(file_format='array_record')
  except OSError:  # Another process may have renamed it first.
    if not builder.data_path.exists():
      raise
    builder = SyntheticFundus(data_dir=root)
  return builder

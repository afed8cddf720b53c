"""What a config asks of the data. No other module of data/ knows its keys."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

EMBEDDED = 'synthetic_fundus'  # The source that comes with the package.


class Masks(NamedTuple):
  """What masks mean, as they are stored."""

  kind: str  # binary | index | color | folders | planes
  background: str  # Name of that class; '' where every pixel is of another.
  merge: Mapping[str, tuple]  # Class -> the folders or values it is made of.
  void: tuple  # Folders or values that count nowhere.
  threshold: int  # Grey value from which a pixel counts.
  soft: int  # Grey value that means probability 1; 0: labels are hard.
  missing: str  # error | absent, what an image without a mask file means.


class Split(NamedTuple):
  """How images are dealt out to train, val and test."""

  train: str  # Names and ranges of names; '' where lists say it.
  val: str
  test: str
  val_share: float  # Share of train that is held back where val is absent.
  group: str  # Images of a patient stay together; see split_drawing.group.
  folds: int  # 0: none.
  fold: int  # The one that is val.


class Spec(NamedTuple):
  """A data set, and how it is read."""

  task: str  # binary | multiclass | multilabel
  seed: int  # Draws val and the folds.
  source: str  # synthetic_fundus | folder | tfds
  name: str  # The TFDS data set's.
  root: str  # Folder of the images, or of TFDS' data sets.
  classes: tuple[str, ...]  # Foreground; () where the data set names them.
  masks: Masks
  split: Split
  fov: str  # Folder of masks of the field of view | estimate | ''
  weights: str  # Folder of maps of weights, or ''.
  resize: int  # Longer side of images in pixels; 0: as stored.
  channels: str  # all | green

  @property
  def encoding(self) -> str:
    """Kind of the masks that are read; the embedded set has one kind alone."""
    return 'folders' if self.source == EMBEDDED else self.masks.kind

  def shaping(self) -> dict[str, Any]:
    """Returns config key -> value of all that decides images and labels."""
    masks, split = self.masks, self.split
    return {
      'task': self.task,
      'data.mask': masks.kind,
      'data.background': masks.background,
      'data.merge': masks.merge,
      'data.void': masks.void,
      'data.threshold': masks.threshold,
      'data.soft': masks.soft,
      'data.missing': masks.missing,
      'data.fov': self.fov,
      'data.weights': self.weights,
      'data.resize': self.resize,
      'data.channels': self.channels,
      'data.train': split.train,
      'data.val': split.val,
      'data.test': split.test,
    }


def read(config: ml_collections.ConfigDict) -> Spec:
  """Reads a run's config."""
  data = config.data.to_dict()
  return Spec(
    task=config.task,
    seed=config.seed,
    source=data['source'],
    name=data['name'],
    root=data['root'],
    classes=tuple(data['classes']),
    masks=Masks(
      kind=data['mask'],
      background=data['background'],
      merge=data['merge'],
      void=tuple(data['void']),
      threshold=data['threshold'],
      soft=data['soft'],
      missing=data['missing'],
    ),
    split=Split(
      train=data['train'],
      val=data['val'],
      test=data['test'],
      val_share=data['val_share'],
      group=data['group'],
      folds=data['folds'],
      fold=data['fold'],
    ),
    fov=data['fov'],
    weights=data['weights'],
    resize=data['resize'],
    channels=data['channels'],
  )

"""What Python programs call: `load`, `get_config`, `train` and `diagnose`.

Nothing here exits; a fault is an errors.InputError.
"""

import contextlib
import functools
import io
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, overload

import ml_collections
import numpy as np
from absl import logging
from PIL import Image

from unet_jax import config as config_lib
from unet_jax import config_files, errors, overrides, text_files

InputError = errors.InputError
Path: TypeAlias = str | os.PathLike
# An array [H, W] or [H, W, C], an image of Pillow, or a file.
ImageLike: TypeAlias = np.ndarray | Image.Image | Path
Many: TypeAlias = list[Any] | tuple[Any, ...]  # Of ImageLike.


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hides warnings of orbax and TFDS that no user can act on."""
  before = logging.get_verbosity()
  logging.set_verbosity(min(before, logging.ERROR))
  try:
    yield
  finally:
    logging.set_verbosity(before)


class Scores(dict):
  """What evaluation/SPLIT.json holds, shown as a table.

  `scores['pooled']['macro']['f1']` is the macro F1 over all pixels; an
  undefined score is None.
  """

  def __repr__(self) -> str:
    from unet_jax.evaluation import tables

    return tables.table(self)

  def _repr_html_(self) -> str:
    from unet_jax.evaluation import scores, tables
    from unet_jax.pages import render

    pooled = self['pooled']
    rows = [*pooled['per_class'].items()]
    rows += [(mean, pooled[mean]) for mean in scores.MEANS]
    cells = [
      [
        label,
        *('-' if row[x] is None else f'{row[x]:.4f}' for x in tables.NAMES),
      ]
      for label, row in rows
    ]
    return render.table(['class', *tables.NAMES], cells)


class Diagnosis:
  """What the doctor has found in a data set.

  Attributes:
    findings: tuple of data.checks.finding.Finding, errors first.
    facts: images, pixels and trivial scores of each class, by split.
    has_errors: whether training would refuse the data.
  """

  def __init__(self, findings: Sequence, facts: dict):
    from unet_jax.doctor import diagnosis

    self.findings = tuple(findings)
    self.facts = facts
    self.has_errors = diagnosis.has_errors(findings)

  def __repr__(self) -> str:
    from unet_jax.doctor import report

    text = io.StringIO()
    report.print_report(self.findings, report.tables(self.facts), text)
    return text.getvalue()

  def _repr_html_(self) -> str:
    from unet_jax.doctor import page, report

    return page.body(self.findings, report.tables(self.facts))


class Run:
  """A trained run; call it with an image, or with a list of them.

  Attributes:
    workdir: the run's folder.
    config: its config, with the classes and the root of its data. Set
      `config.data.root` if the data has moved.
    classes: names of the classes; class i has the index i in a prediction, and
      the plane i in probabilities.
    step: step of the checkpoint whose weights predict.
  """

  @_quiet()
  def __init__(
    self, workdir: pathlib.Path, checkpoint: str, augment: Sequence[str]
  ):
    from unet_jax.data import labels
    from unet_jax.evaluation import ensemble

    self.workdir = workdir
    self._model = ensemble.open_runs([workdir], checkpoint, augment)
    self.config, self.step = self._model.config, self._model.step
    # The only plane of a binary run is that of its foreground.
    task = 'multilabel' if self._overlap else 'multiclass'
    self.classes = labels.class_names(
      task, self.config.data.classes, self.config.data.background
    )

  @property
  def scores(self) -> dict[str, Scores]:
    """Returns the scores by split, of the evaluations made so far."""
    paths = set((self.workdir / 'evaluation').glob('*.json'))
    paths -= set((self.workdir / 'evaluation').glob('thresholds*.json'))
    return {path.stem: Scores(_read(path)) for path in sorted(paths)}

  @overload
  def __call__(self, image: ImageLike) -> np.ndarray: ...
  @overload
  def __call__(self, image: Many) -> list[np.ndarray]: ...
  def __call__(self, image):
    """Segments an image of any size, or each image of a list.

    Args:
      image: an array [H, W] or [H, W, C] of the type of the training images, an
        image of Pillow, a path, or a list of these.

    Returns:
      uint8[H, W] of indices of `classes`; bool[H, W, K] if classes overlap.
    """
    return self._each(image, self._segment)

  @overload
  def probabilities(self, image: ImageLike) -> np.ndarray:
    """Predicts one image."""

  @overload
  def probabilities(self, image: Many) -> list[np.ndarray]:
    """Predicts several images."""

  def probabilities(self, image):
    """Predicts the probability of each class, with the arguments of a call.

    Returns:
      float32[H, W, K], in the order of `classes`; sums to 1 unless classes
      overlap.
    """
    return self._each(image, self._estimate)

  @_quiet()
  def evaluate(self, split: str = '') -> Scores:
    """Scores a split as `unet-jax evaluate` does, with the same files.

    Args:
      split: train, val or test; by default the last one that there is.
    """
    from unet_jax.evaluation import evaluating

    split, _ = evaluating.evaluate_split(self._model, self.workdir, split)
    return self.scores[f'{split}{self._model.tag()}']

  def __repr__(self) -> str:
    names = ', '.join(self.classes)
    return f'Run({str(self.workdir)!r}, step {self.step}: {names})'

  @property
  def _overlap(self) -> bool:
    return self.config.task == 'multilabel'

  def _each(self, image, function: Callable[[np.ndarray], np.ndarray]):
    if isinstance(image, list | tuple):
      return [function(self._read(x)) for x in image]
    return function(self._read(image))

  def _read(self, image: ImageLike) -> np.ndarray:
    """Returns [H, W, C] with the type and channels of the training images."""
    from unet_jax.data import image_files

    kind = self._model.kind
    if isinstance(image, str | os.PathLike):
      array = image_files.read_image(pathlib.Path(image), kind)
    else:
      array = image_files.convert(
        *(_to_array(image), 'the image', kind.dtype, kind.channels), bool
      )
    return image_files.keep_channels(array, self.config.data.channels)

  def _segment(self, image: np.ndarray) -> np.ndarray:
    from unet_jax.evaluation import predictor

    resize = self.config.data.resize
    model = self._model_for(image)
    planes = predictor.predict(
      *(model.predictor, model.variables, image),
      resize=resize,
      rule=model.rule,
    )
    if self._overlap:
      return planes
    is_binary = planes.shape[-1] == 1
    indices = planes[..., 0] if is_binary else planes.argmax(axis=-1)
    return indices.astype(np.uint8)

  def _estimate(self, image: np.ndarray) -> np.ndarray:
    from unet_jax.evaluation import predictor

    model = self._model_for(image)
    probs = predictor.probabilities(
      *(model.predictor, model.variables, image),
      resize=self.config.data.resize,
    )
    is_softmax = model.predictor.classes.exclusive
    if not (is_softmax or self._overlap):  # The one plane of a binary run.
      probs = np.concatenate([1 - probs, probs], axis=-1)
    return probs

  def _model_for(self, image: np.ndarray):
    from unet_jax.evaluation import trained

    side = self.config.data.resize or max(image.shape[:2])
    return trained.with_window(self._model, [side])


def load(
  workdir: Path, checkpoint: str = 'best', *, augment: Sequence[str] = ()
) -> Run:
  """Loads a trained run.

  Args:
    workdir: folder of the run, or of the folds of a cross-validation, which are
      averaged.
    checkpoint: `best`, `latest`, or a step; or several, as '300,600', which are
      averaged.
    augment: of 'flips', 'turns' and 'scales', whose probabilities are averaged.
  """
  _start_jax()
  return Run(pathlib.Path(workdir).absolute(), checkpoint, augment)


def get_config(name: str, **settings: Any) -> ml_collections.ConfigDict:
  """Returns a config, with some keys set.

  Args:
    name: preset[:variant], a config file, or the config.json of a run, as the
      commands take it.
    **settings: values of keys, as in `**{'data.root': 'my_images'}`.
  """
  config = config_files.load(name)
  overrides.apply(config, settings)
  return config


@_quiet()
def train(
  config: ml_collections.ConfigDict,
  workdir: Path,
  *,
  init_from: Path = '',
  overwrite: bool = False,
) -> Run:
  """Trains a run, or resumes it; prints as `unet-jax train` does.

  Args:
    config: from `get_config`.
    workdir: folder of the run, which is made if it is missing.
    init_from: folder of another run, to start from its best weights.
    overwrite: whether to remove the run that the workdir holds.

  Returns:
    The run with its best weights, which are scored in `Run.scores`.
  """
  _start_jax(config.engine)
  from unet_jax.training import loop

  fault = loop.train_and_evaluate(
    config,
    pathlib.Path(workdir),
    init_from=os.fspath(init_from),
    overwrite=overwrite,
  )
  if fault:
    raise errors.InputError(
      f'the run ended in {fault}; correct that, and start over with '
      'overwrite=True'
    )
  return load(workdir)


@_quiet()
def diagnose(config: ml_collections.ConfigDict) -> Diagnosis:
  """Reads a data set as training would, and reports what is wrong with it.

  Args:
    config: from `get_config`.
  """
  _start_jax(config.engine)
  from unet_jax import parallel
  from unet_jax.doctor import diagnosis, report, survey

  config_lib.check(config)
  surveyed = survey.take(config)
  findings = diagnosis.diagnose(
    surveyed, parallel.num_devices(), trials=('step',)
  )
  facts = report.figures(diagnosis.tally(surveyed), surveyed.classes)
  return Diagnosis(findings, facts)


@functools.cache
def _is_ours() -> bool:
  """Returns whether this package is the first of the process to use JAX."""
  return 'jax' not in sys.modules


def _start_jax(engine: str = 'auto') -> None:
  """Sets up JAX; leaves it as it is if the program has imported it before."""
  if _is_ours():
    from unet_jax import build

    build.start(engine)


def _read(path: pathlib.Path) -> Mapping[str, Any]:
  return text_files.read_json(path, 'evaluate the split again')


def _to_array(image: np.ndarray | Image.Image) -> np.ndarray:
  """Returns an image in memory as an array [H, W, C]."""
  if isinstance(image, Image.Image):
    if image.mode not in ('1', 'L', 'P', 'RGB'):
      raise errors.InputError(
        f'the image has mode {image.mode}; convert it to L or RGB'
      )
    image = image.convert('L' if image.mode in ('1', 'L') else 'RGB')
  array = np.asarray(image)
  if array.ndim not in (2, 3) or not array.size:
    raise errors.InputError(
      f'the image is {array.dtype}{list(array.shape)}; give an array [height, '
      'width] or [height, width, channels]'
    )
  return array.reshape(*array.shape[:2], -1)

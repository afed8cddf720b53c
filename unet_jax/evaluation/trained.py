"""Loads and evaluates a trained model, from the folder of its run alone."""

import itertools
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import (
  codes,
  files,
  image_kinds,
  pipeline,
  sources,
  spec,
  split_drawing,
  splits,
)
from unet_jax.data import observer as data_observer
from unet_jax.evaluation import (
  measuring,
  observer,
  pictures,
  records,
  scores,
  summary,
  tables,
  tiles,
)
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.evaluation.report import page

RANKED = predictor_lib.NUM_PICTURES  # Panels of each of worst, median and best.


class Trained(NamedTuple):
  """The averaged weights of a checkpoint, with their config and predictor."""

  config: ml_collections.ConfigDict
  predictor: predictor_lib.Predictor
  variables: dict
  step: int
  kind: image_kinds.Kind  # Of the training images.


def load(workdir: pathlib.Path, which: str = 'best') -> Trained:
  """Restores the `best` or `latest` checkpoint, or the checkpoint of a step.

  Raises:
    InputError: if the folder has no such checkpoint, or it is damaged.
  """
  if not (workdir / checkpoint.FOLDER).is_dir():
    raise errors.InputError(
      f'{workdir} holds no checkpoint; give the folder of a run, '
      f'with {checkpoint.FOLDER} in it'
    )
  with checkpoint.make_manager(
    workdir, has_scores=True, read_only=True
  ) as manager:
    step = checkpoint.find_step(manager, which)
    try:
      meta = checkpoint.restore_meta(manager, step)
      config = config_lib.from_dict(meta['config'])
      config.engine = 'auto'  # This may not be the machine that trained.
      classes = build.make_classes(config, config.data.classes)
      kind, limits = images_of(meta, config)
      predictor = predictor_lib.make(
        *(config, classes, meta['mean'], meta['std']), limits=limits
      )
      shapes = abstract_variables(predictor.model, len(meta['mean']))
      targets = {'averaged': parallel.abstract(shapes)}
      trees = checkpoint.restore(manager, step, targets)
    except Exception as error:  # Each layer of orbax raises its own types.
      raise errors.InputError(
        f'checkpoint {step} of {workdir} cannot be read '
        f'({checkpoint.reason(error)}); it has the steps '
        f'{", ".join(map(str, manager.all_steps()))}: evaluate and predict '
        'take another by --checkpoint=STEP, training starts from another by '
        f'--init_from={workdir / checkpoint.FOLDER}/STEP'
      ) from error
  return Trained(config, predictor, trees['averaged'], step, kind)


def images_of(
  meta: dict, config: ml_collections.ConfigDict
) -> tuple[image_kinds.Kind, Sequence[float]]:
  """Returns the kind of a run's images, and their black and white.

  Images had 8 bits in runs of an earlier version, which saved neither.
  """
  if 'kind' in meta:
    return image_kinds.from_json(meta['kind']), meta['limits']
  channels = 3 if config.data.channels == 'green' else len(meta['mean'])
  return image_kinds.Kind(parts=(('', channels),)), codes.BYTES


def with_window(model: Trained, sides: Iterable[int]) -> Trained:
  """Returns the model with the window for images of these longer sides.

  The window is that of the run; a run of an earlier version has none.
  """
  if model.predictor.window:
    return model
  window = tiles.choose(max(sides), model.config.model.depth)
  return model._replace(predictor=model.predictor._replace(window=window))


def abstract_variables(model: build.Model, channels: int) -> dict:
  """Returns the shapes and dtypes of a model's variables."""
  image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)
  return {'batch_stats': {}, **shapes}


def evaluate(
  model: Trained,
  source: sources.Examples,
  workdir: pathlib.Path,
  split: str,
  *,
  with_shapes: bool = False,
) -> tuple[dict[str, float], str]:
  """Scores a split on all devices.

  Args:
    model: the model, from `load`.
    source: examples of the split.
    workdir: folder of the run, for evaluation/<split>.json and what is beside
      it, and for report.html; see docs/evaluation.md.
    split: name of the split.
    with_shapes: whether to score outlines and objects, too.

  Returns:
    The scores by flat names, and a table, as text.
  """
  sides = (max(source[i]['label'].shape[:2]) for i in range(len(source)))
  model = with_window(model, sides)
  record = _measure(model, source, with_shapes=with_shapes)
  record, note = _with_groups(record, spec.read(model.config))
  report = summary.summarise(record) | {
    'environment': {
      'software': f'JAX {jax.__version__}',
      'devices': parallel.describe_devices(),
    }
  }
  path = workdir / 'evaluation' / f'{split}.json'
  panels = predictor_lib.draw(model.predictor, model.variables, source)
  report['pictures'] = _draw_ranked(model, source, record, path)
  if parallel.is_first():
    files.write_png(pictures.sheet(panels), path.with_suffix('.png'))
    records.write(record, path.with_suffix('.npz'))
    records.write_csv(record, path.with_suffix('.csv'))
    scores.write(report, path)
    page.write([workdir], workdir / page.NAME)
  row = scores.row(record.counts, record.planes, record.num_foreground)
  lr = model.config.optim.lr
  parts = (
    f'{split} split, {len(source)} images, weights of step {model.step}',
    tables.describe(report),
    *note,
    tables.baseline(record.counts, record.num_foreground, lr),
    f'written to {path}; {workdir / page.NAME} shows it',
  )
  return row, '\n'.join(parts)


def evaluate_split(
  model: Trained, workdir: pathlib.Path, split: str = ''
) -> tuple[str, str]:
  """Scores a split of a run's own data; see `evaluate`.

  Args:
    model: the model, from `load`.
    workdir: folder of the run.
    split: name of the split; '' is the last one that the data has.

  Returns:
    The name of the split, and the table.
  """
  data_spec = spec.read(model.config)
  if not split:
    opened = sources.open_layout(data_spec)
    split = sources.split_names(data_spec, opened)[-1]
  source = sources.open_split(data_spec, split, splits.load(workdir))
  _, table = evaluate(model, source, workdir, split, with_shapes=True)
  return split, table


def evaluate_masks(
  model: Trained, workdir: pathlib.Path, split: str, folder: pathlib.Path
) -> str:
  """Scores a second observer's masks of a split of a run's own data.

  Args:
    model: the model, from `load`; only its config is used.
    workdir: folder of the run, for evaluation/<split>_<folder's name>.json.
    split: name of the split.
    folder: holds the masks; see data.observer.

  Returns:
    A table, as text.
  """
  data_spec = spec.read(model.config)
  source = sources.open_split(data_spec, split, splits.load(workdir))
  observed = data_observer.open_masks(data_spec, folder, source)
  path = workdir / 'evaluation' / f'{split}_{folder.name}.json'
  table = observer.evaluate(observed, source, model.predictor.classes, path)
  return f'{split} split, masks of {folder}\n{table}'


def _measure(
  model: Trained, source: sources.Examples, *, with_shapes: bool
) -> records.Record:
  """Measures a split."""
  examples, ahead = itertools.tee(pipeline.eval_examples(source))
  logits = predictor_lib.logits_of(model.predictor, model.variables, ahead)
  return measuring.measure(
    zip(examples, logits, strict=True),
    model.predictor.classes,
    step=model.step,
    with_shapes=with_shapes,
  )


def _with_groups(
  record: records.Record, data_spec: spec.Spec
) -> tuple[records.Record, list[str]]:
  """Returns the record with its images grouped, as by patient; and notes.

  The split that is scored may lack what groups the images of train and val.
  """
  rule, root = data_spec.split.group, pathlib.Path(data_spec.root)
  try:
    groups = split_drawing.group(record.names, rule, root)
  except errors.InputError as error:
    return record, [f'{error}; until then each image is a group of its own']
  return record._replace(groups=groups), []


def _draw_ranked(
  model: Trained,
  source: sources.Examples,
  record: records.Record,
  path: pathlib.Path,
) -> dict[str, str]:
  """Writes the panels of the worst, median and best images beside `path`.

  Returns:
    {file, relative to the folder of `path`: title}.
  """
  scored = dict(records.rank(record))
  order, middle = list(scored), max(0, len(scored) // 2 - 1)
  titles: dict[str, str] = {}
  drawn: set[int] = set()
  for kind, chosen in (
    ('worst', order[:RANKED]),
    ('median', order[middle : middle + RANKED]),
    ('best', order[-RANKED:]),
  ):
    chosen = [i for i in chosen if i not in drawn]
    drawn |= set(chosen)
    examples = [source[i] for i in chosen]
    panels = predictor_lib.draw(model.predictor, model.variables, examples)
    for i, panel in zip(chosen, panels, strict=True):
      file = f'{path.stem}/{len(titles)}.jpg'
      titles[file] = f'{kind}: {record.names[i]}, macro F1 {scored[i]:.3f}'
      if parallel.is_first():
        files.write_png(panel, path.parent / file)
  return titles

"""Opens one run or several as one model, which averages their probabilities."""

import pathlib
from collections.abc import Callable, Sequence

from unet_jax import build, checkpoint, errors
from unet_jax import config as config_lib
from unet_jax.evaluation import averaging, predictor, trained

# Runs that differ in these do not predict the same thing.
ALIKE = (
  *('task', 'data.classes', 'data.background'),
  *('data.channels', 'data.normalise', 'data.resize'),
)


def open_runs(
  workdirs: Sequence[pathlib.Path],
  checkpoints: str = 'best',
  augment: Sequence[str] = (),
) -> trained.Trained:
  """Opens checkpoints of runs.

  Args:
    workdirs: folders of runs; or of the folds of a cross-validation, which
      stands for all of them.
    checkpoints: `best`, `latest` or a step; or several, with commas.
    augment: names of averaging.VIEWS and SCALES, over which probabilities are
      averaged.

  Returns:
    The model. That of several checkpoints has the config of the first.

  Raises:
    InputError: if there is no such checkpoint, or the runs cannot be averaged.
  """
  folders = [run for workdir in workdirs for run in _runs_in(workdir)]
  models: list[trained.Trained] = []
  for folder in folders:
    for which in checkpoints.split(','):
      model = trained.load(folder, which)
      if any(_origin(model) == _origin(other) for other in models):
        raise errors.InputError(
          f'--checkpoint {checkpoints}: step {model.step} of {folder} is named '
          'twice; name each once'
        )
      models.append(model)
  if len(models) == 1 and not augment:
    return models[0]
  _check(models)
  return _average(models, augment)


def _runs_in(workdir: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders of all folds, if it is theirs; else the folder."""
  folds = [path for path in workdir.glob('fold*') if path.name[4:].isdigit()]
  if (workdir / checkpoint.FOLDER).is_dir() or not folds:
    return [workdir]
  return sorted(folds, key=lambda path: int(path.name[4:]))


def _origin(model: trained.Trained) -> tuple[pathlib.Path, int]:
  return model.folders[0].resolve(), model.step


def _check(models: Sequence[trained.Trained]) -> None:
  """Refuses runs that cannot be averaged."""
  first, *others = models
  for other in others:
    one, two = (config_lib.flatten(x.config) for x in (first, other))
    differing = [key for key in ALIKE if one[key] != two[key]]
    if differing:
      key = differing[0]
      raise errors.InputError(
        f'--workdir: config.{key} is {one[key]} in {first.folders[0]}, and '
        f'{two[key]} in {other.folders[0]}; only runs that agree in it can be '
        'averaged'
      )
    kinds = [
      f'{x.kind.channels} channels of {x.kind.dtype}' for x in (first, other)
    ]
    if first.kind != other.kind:
      raise errors.InputError(
        f'--workdir: images have {kinds[0]} in {first.folders[0]}, and '
        f'{kinds[1]} in {other.folders[0]}; such runs cannot be averaged'
      )


def _average(
  models: Sequence[trained.Trained], augment: Sequence[str]
) -> trained.Trained:
  """Returns a model that averages the probabilities of models and views."""
  # Models that are equal share a compiled network.
  networks: dict[build.Model, Callable] = {}
  for model in models:
    own = model.predictor
    networks.setdefault(own.model, own.logits)
  first = models[0]
  network = averaging.average(
    [networks[model.predictor.model] for model in models],
    averaging.views_of(augment),
    exclusive=first.predictor.classes.exclusive,
  )
  average = first.predictor._replace(
    logits=network,
    window=_largest_window(models),
    scales=averaging.SCALES['scales'] if 'scales' in augment else (),
  )
  return first._replace(
    predictor=average,
    variables=[predictor.weigh(x.predictor, x.variables) for x in models],
    augment=tuple(sorted(set(augment))),
    members=_name(models) if len(models) > 1 else (),
    folders=tuple(model.folders[0] for model in models),
  )


def _largest_window(models: Sequence[trained.Trained]) -> int:
  """Returns the side of the largest window, which must suit all networks."""
  window = max(model.predictor.window for model in models)
  for model in models:
    unit = 2 ** (model.config.model.depth + 1)
    if window % unit:
      raise errors.InputError(
        f'--workdir: the largest window has {window} pixels, but the depth of '
        f'{model.folders[0]} needs a multiple of {unit}; such runs cannot be '
        'averaged'
      )
  return window


def _name(models: Sequence[trained.Trained]) -> tuple[str, ...]:
  """Returns the names of several models: steps, of the runs if they differ."""
  steps = [trained.name_step(model.step) for model in models]
  folders = [model.folders[0].resolve() for model in models]
  if len(set(folders)) == 1:
    return tuple(steps)
  return tuple(
    f'{folder.name} {step}' for folder, step in zip(folders, steps, strict=True)
  )

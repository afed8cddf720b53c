"""Trains a U-Net: python -m unet_jax.main --config configs/multiclass.py"""

import functools
import pathlib

from absl import flags

from unet_jax import command_line, errors

CONFIG = command_line.define_flag()
WORKDIR = flags.DEFINE_string(
  'workdir', '', "Run's folder; by default runs/CONFIG[-VARIANT]."
)
INIT_FROM = flags.DEFINE_string(
  'init_from', '', "Another run's folder, to start from its best weights."
)
OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Remove the run that the workdir holds.'
)
FOLDS = flags.DEFINE_integer(
  'folds', 0, 'Cross-validate in so many folds, each a run in WORKDIR/foldN.'
)
COORDINATOR = flags.DEFINE_string(
  'coordinator', '', 'HOST:PORT of process 0, where there are several.'
)
NUM_PROCESSES = flags.DEFINE_integer('num_processes', 1, 'Of all machines.')
PROCESS_ID = flags.DEFINE_integer('process_id', 0, 'Of this process.')


def main() -> None:
  """Trains and evaluates as the flags say."""
  if CONFIG.value is None:
    raise errors.InputError(
      'no config; give one, e.g. --config configs/multiclass.py'
    )
  # Below, since --help and misspelt flags need none of these slow imports.
  from unet_jax import build, parallel
  from unet_jax.experiments import folds
  from unet_jax.training import loop

  build.start(CONFIG.value.engine)
  parallel.join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
  workdir = WORKDIR.value or default_workdir(
    flags.FLAGS['config'].config_filename
  )
  if FOLDS.value and not WORKDIR.value:
    workdir = f'{workdir}-folds'
  train = loop.train_and_evaluate
  if FOLDS.value:
    train = functools.partial(folds.cross_validate, num_folds=FOLDS.value)
  try:
    fault = train(
      CONFIG.value,
      pathlib.Path(workdir),
      init_from=INIT_FROM.value,
      overwrite=OVERWRITE.value,
    )
  except KeyboardInterrupt:
    raise KeyboardInterrupt(
      'the same command, without --overwrite, goes on from the last '
      f'checkpoint in {workdir}, if there is one'
    ) from None
  if fault:
    raise errors.InputError(
      f'ended in {fault}; mend that, and start over with --overwrite'
    )


def default_workdir(config_filename: str) -> pathlib.Path:
  """Returns runs/multiclass-catdog for configs/multiclass.py:catdog."""
  path, _, variant = config_filename.partition(':')
  name = pathlib.Path(path).stem
  return pathlib.Path('runs') / (f'{name}-{variant}' if variant else name)


if __name__ == '__main__':
  command_line.run(main)

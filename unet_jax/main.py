"""Trains a U-Net: python -m unet_jax.main --config configs/multiclass.py"""

import functools
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from unet_jax import command_line, errors
from unet_jax import config as config_lib


def main(argv: Sequence[str]) -> int:
  """Trains and evaluates as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'workdir',
    '',
    "Run's folder; by default runs/CONFIG[-VARIANT].",
    flag_values=args,
  )
  flags.DEFINE_string(
    'init_from',
    '',
    "Another run's folder, to start from its best weights.",
    flag_values=args,
  )
  flags.DEFINE_bool(
    'overwrite',
    False,
    'Remove the run that the workdir holds.',
    flag_values=args,
  )
  flags.DEFINE_integer(
    'folds',
    0,
    'Number of folds to cross-validate in, each a run in WORKDIR/foldN.',
    lower_bound=0,
    flag_values=args,
  )
  command_line.define_processes(args)


def run(args: flags.FlagValues) -> None:
  """Trains and evaluates.

  Raises:
    InputError: if the run can't begin, or ends in a fault.
    KeyboardInterrupt: after Ctrl-C; its text says how to resume.
    Preempted: after another signal; its text says how to resume.
  """
  from unet_jax import preemption  # Late, for a fast --help.
  from unet_jax.experiments import folds
  from unet_jax.training import loop

  config_file = config_flags.get_config_filename(args['config'])
  workdir = args.workdir or default_workdir(config_file)
  if args.folds and not args.workdir:
    workdir = f'{workdir}-folds'
  train = loop.train_and_evaluate
  if args.folds:
    train = functools.partial(folds.cross_validate, num_folds=args.folds)
  try:
    fault = train(
      args.config,
      pathlib.Path(workdir),
      init_from=args.init_from,
      overwrite=args.overwrite,
    )
  except KeyboardInterrupt:
    raise KeyboardInterrupt(
      'the same command, without --overwrite, resumes from the last '
      f'checkpoint in {workdir}, if there is one'
    ) from None
  except errors.Preempted as notice:
    raise errors.Preempted(
      f'{notice} in {workdir}; {preemption.RESUME}'
    ) from None
  if fault:
    raise errors.InputError(
      f'the run ended in {fault}; correct that, and start over with --overwrite'
    )


def default_workdir(config_filename: str) -> pathlib.Path:
  """Returns runs/multiclass-catdog for configs/multiclass.py:catdog.

  A run's own config.json gives runs/NAME, where NAME is the run's folder.
  """
  text, _, variant = config_filename.partition(':')
  path = pathlib.Path(text).absolute()
  name = path.parent.name if path.name == config_lib.FILE else path.stem
  return pathlib.Path('runs') / (f'{name}-{variant}' if variant else name)


COMMAND = command_line.Command(
  *(define, run, command_line.start_training), configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)

"""Trains with and without a warm start, and compares: python -m
unet_jax.compare --source FILE --config FILE --workdir DIR"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line, errors


def main(argv: Sequence[str]) -> int:
  """Trains and compares as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', '', 'Folder for all runs.', flag_values=args)
  flags.DEFINE_integer(
    'seeds',
    3,
    'Number of pairs of runs, each with its own seed.',
    lower_bound=1,
    flag_values=args,
  )


def run(args: flags.FlagValues) -> None:
  """Trains what has not been trained, and prints the comparison.

  Raises:
    Preempted: after a signal; its text says how to resume.
  """
  from unet_jax import preemption  # Late, for a fast --help.
  from unet_jax.experiments import comparison

  workdir = pathlib.Path(args.workdir)
  try:
    print(comparison.compare(args.source, args.config, workdir, args.seeds))
  except errors.Preempted as notice:
    raise errors.Preempted(
      f'{notice} in {workdir}; {preemption.RESUME}'
    ) from None


COMMAND = command_line.Command(
  *(define, run, command_line.start_training),
  configs=command_line.CONFIG
  | {'source': 'Config file[:VARIANT] to start from'},
  required=('workdir',),
)

if __name__ == '__main__':
  command_line.run(COMMAND)

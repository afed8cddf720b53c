"""Trains with and without a warm start, and compares: python -m
unet_jax.compare --source FILE --config FILE --workdir DIR"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line


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
  """Trains what has not been trained, and prints the comparison."""
  from unet_jax.experiments import comparison  # Late, for a fast --help.

  workdir = pathlib.Path(args.workdir)
  print(comparison.compare(args.source, args.config, workdir, args.seeds))


COMMAND = command_line.Command(
  *(define, run, command_line.start_jax),
  configs=command_line.CONFIG
  | {'source': 'Config file[:VARIANT] to start from'},
  required=('workdir',),
)

if __name__ == '__main__':
  command_line.run(COMMAND)

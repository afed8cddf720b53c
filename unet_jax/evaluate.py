"""Scores a run: python -m unet_jax.evaluate --workdir runs/multiclass"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line


def main(argv: Sequence[str]) -> int:
  """Evaluates as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', '', 'Folder of the run.', flag_values=args)
  flags.DEFINE_string('split', 'test', 'train, val or test.', flag_values=args)
  flags.DEFINE_string(
    'checkpoint', 'best', 'best, latest or a step.', flag_values=args
  )
  flags.DEFINE_string(
    'data_root',
    '',
    'Folder of the data, if it has moved since training.',
    flag_values=args,
  )
  command_line.define_processes(args)


def run(args: flags.FlagValues) -> None:
  """Scores a split, and prints the scores."""
  from unet_jax import parallel  # Late, for a fast --help.
  from unet_jax.data import sources, spec, splits
  from unet_jax.evaluation import trained

  workdir = pathlib.Path(args.workdir)
  model = trained.load(workdir, args.checkpoint)
  if args.data_root:
    model.config.data.root = args.data_root
  saved = splits.load(workdir)
  source = sources.open_split(spec.read(model.config), args.split, saved)
  _, table = trained.evaluate(model, source, workdir, args.split)
  parallel.say(table)


COMMAND = command_line.Command(
  define, run, command_line.start_jax, required=('workdir',)
)

if __name__ == '__main__':
  command_line.run(COMMAND)

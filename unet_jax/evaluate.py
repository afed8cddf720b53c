"""Scores a run: python -m unet_jax.evaluate --workdir runs/multiclass"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line, errors, model_flags


def main(argv: Sequence[str]) -> int:
  """Evaluates as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  model_flags.define(args)
  flags.DEFINE_string(
    'split',
    '',
    'train, val or test; by default the last one that there is.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'data_root',
    '',
    'Folder of the data, if it has moved since training.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'masks',
    '',
    "Folder of a second observer's masks, which are scored, too.",
    flag_values=args,
  )
  command_line.define_processes(args)


def run(args: flags.FlagValues) -> None:
  """Scores a split, and prints the scores."""
  from unet_jax import parallel  # Late, for a fast --help.
  from unet_jax.evaluation import ensemble, evaluating, trained

  workdirs = [pathlib.Path(text) for text in args.workdir]
  model = ensemble.open_runs(workdirs, args.checkpoint, args.augment)
  model = trained.with_smallest(model, args.smallest_component)
  workdir = workdirs[0]
  if args.data_root:
    model.config.data.root = args.data_root
  try:
    if args.thresholds:
      model, line = evaluating.choose_thresholds(model, workdir)
      parallel.say(line)
    split, table = evaluating.evaluate_split(model, workdir, args.split)
    if args.masks:
      masks = pathlib.Path(args.masks)
      of_masks = evaluating.evaluate_masks(model, workdir, split, masks)
      table += f'\n\n{of_masks}'
  except errors.InputError as error:  # Its remedy may be a flag of training.
    text = str(error).replace('--config.data.root', '--data_root')
    raise errors.InputError(text) from None
  parallel.say(table)


COMMAND = command_line.Command(
  define, run, command_line.start_jax, required=('workdir',)
)

if __name__ == '__main__':
  command_line.run(COMMAND)

"""The flags that say which model predicts, and how: of evaluate and predict."""

import shlex

from absl import flags


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', '', 'Folder of the run.', flag_values=args)
  flags.DEFINE_string(
    'checkpoint', 'best', 'best, latest or a step.', flag_values=args
  )
  flags.DEFINE_bool(
    'thresholds',
    False,
    'Predict a class from the probability that has the highest F1 on val, and '
    'not from 1/2; for one class, or classes that overlap.',
    flag_values=args,
  )
  flags.DEFINE_integer(
    'smallest_component',
    0,
    'Remove the components of each class that have fewer pixels, which share '
    'sides.',
    lower_bound=0,
    flag_values=args,
  )


def evaluate_command(args: flags.FlagValues) -> str:
  """Returns the command that chooses the thresholds for these flags."""
  words = ['python', '-m', 'unet_jax.evaluate', '--workdir', args.workdir]
  if args.checkpoint != 'best':
    words.append(f'--checkpoint={args.checkpoint}')
  return shlex.join([*words, '--thresholds'])

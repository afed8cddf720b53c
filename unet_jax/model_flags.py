"""The flags that say which model predicts, and how: of evaluate and predict."""

import shlex

from absl import flags


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_multi_string(
    'workdir',
    [],
    'Folder of the run, or of the folds of a run. The probabilities of all '
    'folds are averaged, and those of several runs if it is repeated.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'checkpoint',
    'best',
    'best, latest or a step; several, as 300,600, are averaged.',
    flag_values=args,
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
  flags.DEFINE_multi_enum(
    'augment',
    [],
    ('flips', 'turns', 'scales'),
    'Average the probabilities over flips (4 views, so 4 times as long), '
    'quarter turns (4; 8 with flips) or sizes (3, from 0.75 to 1.25); may be '
    'repeated.',
    flag_values=args,
  )


def evaluate_command(args: flags.FlagValues) -> str:
  """Returns the command that chooses the thresholds for these flags."""
  words = ['python', '-m', 'unet_jax.evaluate']
  words += [word for text in args.workdir for word in ('--workdir', text)]
  if args.checkpoint != 'best':
    words.append(f'--checkpoint={args.checkpoint}')
  words += [f'--augment={name}' for name in args.augment]
  return shlex.join([*words, '--thresholds'])

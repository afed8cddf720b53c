"""Lists the keys of a config, or those about a word: python -m unet_jax.keys
[WORD]"""

from collections.abc import Sequence

from absl import flags

from unet_jax import command_line, defaults, errors, lookup


def main(argv: Sequence[str]) -> int:
  """Lists as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_multi_string(
    'word', [], 'Word to look for; WORD alone means the same.', flag_values=args
  )


def run(args: flags.FlagValues) -> None:
  """Prints each key with its default, its allowed values and its meaning."""
  word = ' '.join(args.word)
  keys = lookup.search(word) or lookup.nearest(word)
  if not keys:
    raise errors.InputError(
      f'no key is about {word!r}; without a word all {len(defaults.KEYS)} keys '
      'are listed'
    )
  print(lookup.describe(keys))


COMMAND = command_line.Command(define, run, words='word')

if __name__ == '__main__':
  command_line.run(COMMAND)

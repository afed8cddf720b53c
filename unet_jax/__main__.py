"""The command `unet-jax VERB`, also as `python -m unet_jax VERB`."""

import difflib
import sys

import unet_jax
from unet_jax import (
  command_line,
  compare,
  defaults,
  evaluate,
  lookup,
  predict,
  prepare,
  report,
  show,
)
from unet_jax import main as train
from unet_jax.doctor import __main__ as doctor

VERBS = {
  'doctor': doctor,
  'train': train,
  'evaluate': evaluate,
  'predict': predict,
  'prepare': prepare,
  'compare': compare,
  'report': report,
  'show': show,
}
HELP = ('help', '-h', '--help')
KEYS = 'keys [WORD]'


def main() -> None:
  """Runs the verb in sys.argv as this process."""
  program, verb, *argv = [*sys.argv, 'help'] if len(sys.argv) < 2 else sys.argv
  if verb in VERBS:
    sys.argv = [program, *argv]
    command_line.run(VERBS[verb].COMMAND)
  elif verb == 'keys':
    sys.exit(list_keys(argv))
  elif verb == '--version':
    print(f'unet_jax {unet_jax.__version__}')
  elif verb in HELP:
    print(usage())
  else:
    near = difflib.get_close_matches(verb, [*VERBS, 'keys'], n=1)
    hint = f'; did you mean {near[0]}?' if near else ''
    print(f'error: there is no {verb!r}{hint}; see --help', file=sys.stderr)
    sys.exit(1)


def usage() -> str:
  """Returns a line for each verb."""
  lines = [
    'unet-jax VERB [--FLAG=VALUE ...]; unet-jax VERB --help says more',
    '',
  ]
  for verb, module in VERBS.items():
    what = (module.__doc__ or '').partition(':')[0]
    lines.append(f'  {verb:<12} {" ".join(what.split())}')
  lines.append(
    f'  {KEYS:<12} Lists the keys of a config, or those about a word'
  )
  lines.append(f'  {"--version":<12} Prints the version')
  return '\n'.join(lines)


def list_keys(words: list[str]) -> int:
  """Prints the keys whose name or meaning has the words; all without a word.

  Returns:
    The exit code: 1 if there is none.
  """
  word = ' '.join(words)
  if word in HELP:
    print(KEYS)
    return 0
  keys = lookup.search(word) if word else list(defaults.KEYS)
  keys = keys or lookup.nearest(word)
  if not keys:
    print(f'error: no key is about {word!r}', file=sys.stderr)
    return 1
  print(lookup.describe(keys))
  return 0


if __name__ == '__main__':
  main()

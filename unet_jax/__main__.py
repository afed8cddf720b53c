"""The command `unet-jax VERB`, also as `python -m unet_jax VERB`."""

import difflib
import sys

import unet_jax
from unet_jax import (
  command_line,
  compare,
  evaluate,
  keys,
  plan,
  predict,
  prepare,
  report,
  show,
)
from unet_jax import main as train
from unet_jax.doctor import __main__ as doctor
from unet_jax.export import __main__ as export

VERBS = {
  'doctor': doctor,
  'plan': plan,
  'train': train,
  'evaluate': evaluate,
  'predict': predict,
  'report': report,
  'compare': compare,
  'export': export,
  'prepare': prepare,
  'show': show,
  'keys': keys,
}


def main() -> None:
  """Runs the verb in sys.argv as this process."""
  program, *argv = sys.argv
  verb = argv[0] if argv else 'help'
  if verb in VERBS:
    sys.argv = [program, *argv[1:]]
    command_line.run(VERBS[verb].COMMAND)
  elif verb == '--version':
    print(f'unet_jax {unet_jax.__version__}')
  elif verb in ('help', '-h', '--help'):
    print(usage())
  else:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f'; did you mean {near[0]}?' if near else ''
    print(f'error: there is no {verb!r}{hint}; see --help', file=sys.stderr)
    sys.exit(1)


def usage() -> str:
  """Returns a line for each verb."""
  lines = ['unet-jax VERB [--FLAG=VALUE ...]; VERB --help says more', '']
  for verb, module in VERBS.items():
    what = (module.__doc__ or '').partition(':')[0]
    lines.append(f'  {verb:<10} {" ".join(what.split())}')
  return '\n'.join([*lines, f'  {"--version":<10} Prints the version'])


if __name__ == '__main__':
  main()

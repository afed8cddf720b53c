"""Flags of the commands, and how a command ends: in one line, if it fails."""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from unet_jax import config as config_lib
from unet_jax import errors

# What is defined here is its caller's, a command's, whose --help then has it.
flags.disclaim_key_flags()


def define_flag(
  name: str = 'config', what: str = 'Config file[:VARIANT]'
) -> flags.FlagHolder:
  """Defines --NAME FILE[:VARIANT] and its --NAME.KEY=VALUE overrides."""
  return config_flags.DEFINE_config_file(
    name,
    None,
    f'{what}, as those in configs/, whose first lines list theirs; '
    f'--{name}.KEY=VALUE sets a key of unet_jax/defaults.py.',
    lock_config=True,
  )


def run(main: Callable[[], None]) -> None:
  """Runs a command: parses flags, calls `main`, ends on errors in one line."""
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _interrupt_again
  try:
    app.run(lambda _: main(), flags_parser=_parse_flags)
  except errors.InputError as error:
    sys.stdout.flush()
    print(f'error: {error}', file=sys.stderr)
    sys.stderr.flush()
    sys.exit(1)
  except KeyboardInterrupt as error:
    sys.stdout.flush()
    print('interrupted', *error.args, sep='; ', file=sys.stderr, flush=True)
    # As shells have it for Ctrl-C; at once, since orbax's threads, cut short,
    # would print tracebacks.
    os._exit(130)


def _interrupt(number: int, frame) -> None:
  """Raises KeyboardInterrupt, of which orbax would log a traceback."""
  logging.set_verbosity(logging.FATAL)
  signal.default_int_handler(number, frame)


def _interrupt_again(ignored) -> None:
  """Repeats a Ctrl-C that was lost in a callback, as JAX's to the collector."""
  if ignored.exc_type is KeyboardInterrupt:
    # Later, since in here it would be lost again.
    main_thread = threading.get_ident()  # Signals are handled in no other.
    again = main_thread, signal.SIGINT
    threading.Timer(0.1, signal.pthread_kill, again).start()
  else:
    sys.__unraisablehook__(ignored)


def _parse_flags(argv: list[str]) -> list[str]:
  """Parses absl's flags; turns what it raises into one line."""
  name = 'config'
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS['verbosity'].using_default_value:
      # JAX, orbax and TFDS tell much that no user can act on.
      flags.FLAGS.verbosity = logging.ERROR
    for name in ('config', 'source'):
      if name in flags.FLAGS and flags.FLAGS[name].present:
        config = flags.FLAGS[name].value
        if not isinstance(config, ml_collections.ConfigDict):
          getattr(config, 'seed', None)  # Raises what loading the file did.
          raise TypeError(f'get_config gave {type(config).__name__}, no config')
  except SystemExit as end:
    if end.code == 1:  # Of absl's --help, which is no failure.
      sys.exit(0)
    raise errors.InputError(f'--{name}: {end.code}') from None
  except Exception as error:  # absl's, or whatever the config file raises.
    raise errors.InputError(
      _explain(error, _failed_flag(error) or name)
    ) from None
  if len(rest) > 1:
    raise errors.InputError(f'unexpected argument {rest[1]!r}; see --help')
  return rest


def _failed_flag(error: Exception) -> str:
  """Returns the name of the flag whose parsing raised; '' if none's did."""
  frames = traceback.walk_tb(error.__traceback__)
  owners = [frame.f_locals.get('self') for frame, _ in frames]
  return next((x.name for x in owners if isinstance(x, flags.Flag)), '')


def _failed_key(error: Exception) -> str:
  """Returns the key that ml_collections looked up in the config, or ''."""
  frames = traceback.walk_tb(error.__traceback__)
  paths = [frame.f_locals.get('config_path') for frame, _ in frames]
  return next((x for x in paths if isinstance(x, str)), '')


def _explain(error: Exception, name: str) -> str:
  """Says in a line why the flags or the config file can't be read."""
  text = str(error)
  key = _failed_key(error)
  if key in config_lib.RENAMED or key in config_lib.REMOVED:
    return config_lib.explain_unknown(key, f'--{name}')
  hint = re.search('Did you mean "(.+)" instead of "(.+)"', text)
  if hint:
    return f'--{name} has no key {hint[2]}; did you mean {hint[1]}?'
  if error.args and isinstance(error.args[0], KeyError):
    key = error.args[0].args[0]
    return f'--{name} has no key {key}; unet_jax/defaults.py has all keys'
  last = text.splitlines()[-1].strip() if text else type(error).__name__
  if isinstance(error, flags.Error) and 'parsing config file' not in text:
    is_flag = isinstance(error, flags.UnrecognizedFlagError)
    return f'{last}; see --help' if is_flag else last
  if isinstance(error, LookupError):  # Its text is but a key.
    last = f'{type(error).__name__} {last}'
  # ml_collections puts a whole traceback into the text of some errors.
  places = re.findall(r'File "(.+)", line (\d+)', text) or [
    (frame.filename, frame.lineno)
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.name in ('get_config', '<module>')
  ]
  if places:
    last += f' ({places[-1][0]}, line {places[-1][1]})'
  return f'--{name}: {last}'

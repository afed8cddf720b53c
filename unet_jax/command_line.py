"""Parses the flags of a command and runs it; a failure prints one line."""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from unet_jax import config as config_lib
from unet_jax import errors

CONFIG = {'config': 'Config file[:VARIANT]'}  # For `Command.configs`.


class Command(NamedTuple):
  """A module that `python -m` runs: its flags, and the function that runs."""

  define: Callable[[flags.FlagValues], None]  # Defines the other flags.
  run: Callable[[flags.FlagValues], int | None]  # Returns the exit code.
  # Called before `run` if the command has its own process, not by `call`.
  start: Callable[[flags.FlagValues], None] | None = None
  configs: Mapping[str, str] = {}  # Flag of a config file -> its help.
  required: tuple[str, ...] = ()  # Required flags besides `configs`.


class _TextShown(Exception):
  """Ends the parsing of flags after a PrintFlag has printed its text."""


class PrintFlag(flags.BooleanFlag):
  """Prints a text when it is parsed and exits, whatever other flags say."""

  def __init__(
    self,
    name: str,
    help: str,
    text: Callable[[], str],
    short_name: str | None = None,
  ):
    self._text = text
    super().__init__(name, False, help, short_name)

  def parse(self, argument: str | bool) -> None:
    if self._parse(argument):
      print(self._text(), end='')
      raise _TextShown


def call(command: Command, argv: Sequence[str]) -> int:
  """Runs a command inside the caller's process; may be called repeatedly.

  Args:
    command: the command of a module.
    argv: the arguments, without the program's name.

  Returns:
    The exit code: 1 after an error, which is printed in one line.
  """
  try:
    return command.run(_parse(command, argv)) or 0
  except _TextShown:
    return 0
  except errors.InputError as error:
    return _fail(error)


def run(command: Command) -> None:
  """Runs a command as this process, with the arguments in sys.argv."""
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupt)
  sys.unraisablehook = _unraisable

  def parse(argv: list[str]) -> flags.FlagValues:
    flags.FLAGS(argv[:1])  # absl needs its own flags parsed.
    # JAX, orbax and TFDS log much that no user can act on.
    logging.set_verbosity(logging.ERROR)
    return _parse(command, argv[1:])

  def run_process(args: flags.FlagValues) -> int | None:
    if command.start:
      command.start(args)
    return command.run(args)

  try:
    app.run(run_process, flags_parser=parse)
  except _TextShown:
    sys.exit(0)
  except errors.InputError as error:
    _fail(error)
    _end(error)
  except errors.Preempted as notice:
    from unet_jax import peers  # Late, for a fast --help.

    sys.stdout.flush()
    if peers.index() == 0:
      print(notice, file=sys.stderr, flush=True)
    peers.leave(notice.code)
  except Exception as error:
    if not _has_peers():
      raise
    from unet_jax import peers

    peers.await_end(error)
    traceback.print_exc()
    _end(error)
  except KeyboardInterrupt as error:
    sys.stdout.flush()
    print('interrupted', *error.args, sep='; ', file=sys.stderr, flush=True)
    # 130 is the exit code of shells for Ctrl-C. Exits at once, since the
    # interrupted threads of orbax would print tracebacks.
    os._exit(130)


def define_processes(args: flags.FlagValues) -> None:
  """Defines the flags by which the processes of a command find each other."""
  flags.DEFINE_string(
    'coordinator',
    '',
    'HOST:PORT of process 0, if there are several processes.',
    flag_values=args,
  )
  flags.DEFINE_integer(
    'num_processes',
    1,
    'Number of processes, on all machines.',
    flag_values=args,
  )
  flags.DEFINE_integer(
    'process_id', 0, 'Index of this process, from 0.', flag_values=args
  )
  flags.DEFINE_float(
    'peer_timeout',
    30,
    'Seconds after which a silent process is gone, and ends the others.',
    lower_bound=1,
    flag_values=args,
  )


def start_jax(args: flags.FlagValues) -> None:
  """Prepares the process for JAX, for its engine and for other processes."""
  from unet_jax import build, joining, peers, preemption  # For a fast --help.

  has_config = 'config' in args
  build.start(args.config.engine if has_config else 'auto')
  if 'coordinator' not in args:
    return
  place = joining.find_place(
    args.coordinator, args.num_processes, args.process_id
  )
  if place:
    flat = config_lib.flatten(args.config) if has_config else {}
    facts = {
      f'config.{key}': repr(value)
      for key, value in flat.items()
      if key not in config_lib.MACHINE
    }
    joining.join(place, args.peer_timeout, facts)
    peers.watch(place.coordinator, args.peer_timeout, preemption.on_notices)


def _fail(error: errors.InputError) -> int:
  sys.stdout.flush()
  print(f'error: {error}', file=sys.stderr, flush=True)
  return 1


def _end(error: Exception) -> NoReturn:
  """Exits with 1; at once, and with a word to them, if there are others.

  Otherwise JAX, at its exit, would wait for the others, which wait for this
  process.
  """
  if not _has_peers():
    sys.exit(1)
  from unet_jax import peers  # Late, for a fast --help.

  peers.fail(str(error).partition('\n')[0] or type(error).__name__)


def _has_peers() -> bool:
  """Returns whether the process has joined others; imports nothing for it."""
  peers = sys.modules.get('unet_jax.peers')
  return bool(peers and peers.exist())


def _interrupt(number: int, frame) -> None:
  """Raises KeyboardInterrupt; silences orbax, which would log a traceback."""
  logging.set_verbosity(logging.FATAL)
  signal.default_int_handler(number, frame)


def _unraisable(ignored) -> None:
  """Repeats a Ctrl-C that a callback swallowed, such as JAX's for the GC.

  Drops the hundreds of errors of the callbacks of tensorstore after one that
  orbax raises, as on a full disk.
  """
  if str(ignored.exc_value) == 'Event loop is closed':
    return
  if ignored.exc_type is KeyboardInterrupt:
    # After this hook has returned, which would swallow it, too.
    main_thread = threading.get_ident()  # Only this thread handles signals.
    again = main_thread, signal.SIGINT
    threading.Timer(0.1, signal.pthread_kill, again).start()
  else:
    sys.__unraisablehook__(ignored)


def _parse(command: Command, argv: Sequence[str]) -> flags.FlagValues:
  """Parses the arguments into flags that belong to this call alone.

  Raises:
    InputError: in one line, for any error of absl or of the config file.
  """
  args = _define(command, argv)
  name = next(iter(command.configs), 'config')
  try:
    rest = args(['', *argv])
    for name in command.configs:
      if args[name].present and not isinstance(
        args[name].value, ml_collections.ConfigDict
      ):
        getattr(args[name].value, 'seed', None)  # Raises the error of loading.
        kind = type(args[name].value).__name__
        raise TypeError(f'get_config returned {kind}, not a config')
  except _TextShown:
    raise
  except SystemExit as end:  # Raised by the config file.
    raise errors.InputError(f'--{name}: {end.code}') from None
  except Exception as error:  # Raised by absl or the config file.
    raise errors.InputError(
      _explain(error, _failed_flag(error) or name)
    ) from None
  if len(rest) > 1:
    raise errors.InputError(f'unexpected argument {rest[1]!r}; see --help')
  _require(command, args)
  return args


def _require(command: Command, args: flags.FlagValues) -> None:
  """Raises InputError if a flag that the command needs is missing."""
  for name in command.configs:
    if args[name].value is None:
      raise errors.InputError(
        f'--{name} is missing; give a file, e.g. --{name} configs/multiclass.py'
      )
  for name in command.required:
    if not args[name].value:
      raise errors.InputError(f'--{name} is missing; see --help')


def _define(command: Command, argv: Sequence[str]) -> flags.FlagValues:
  """Defines the command's flags and absl's, for one call."""
  args = flags.FlagValues()
  for name, what in command.configs.items():
    config_flags.DEFINE_config_file(
      name,
      None,
      f'{what}, such as those in configs/, whose first lines list variants; '
      f'--{name}.KEY=VALUE sets a key of unet_jax/defaults.py.',
      flag_values=args,
      lock_config=True,
      sys_argv=list(argv),
    )
    # ml_collections would load the file into the module of an earlier call.
    sys.modules.pop(f'{name}_config', None)
  command.define(args)
  args.flags_by_module_dict().clear()  # So that --help prints one list.
  doc = sys.modules[command.run.__module__].__doc__
  own = args.get_help(prefix='  ', include_special_flags=False)
  text = f'{doc}\nflags:\n{own}\n'
  short = f'{text}\nTry --helpfull to get a list of all flags.\n'
  full = f'{text}{flags.FLAGS.get_help()}\n'
  what = 'show this help'
  args['help'] = PrintFlag('help', what, lambda: short, '?')
  args['helpshort'] = PrintFlag('helpshort', what, lambda: short)
  args['helpfull'] = PrintFlag('helpfull', what, lambda: full)
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    # FLAGS also lists a flag by its short name.
    if name == flag.name and name not in args:
      args[name] = flag
  return args


def _failed_flag(error: Exception) -> str:
  """Returns the name of the flag whose parsing raised, or ''."""
  frames = traceback.walk_tb(error.__traceback__)
  owners = [frame.f_locals.get('self') for frame, _ in frames]
  return next((x.name for x in owners if isinstance(x, flags.Flag)), '')


def _old_key(error: Exception) -> str:
  """Returns the key of an earlier version that raised the error, or ''."""
  places = []
  for frame, _ in traceback.walk_tb(error.__traceback__):
    # Variables in which ml_collections holds the key of a flag.
    paths = map(frame.f_locals.get, ('config_path', 'field_path'))
    places += [path for path in paths if isinstance(path, str)]
  if error.args and isinstance(error.args[0], KeyError):  # In a config file.
    lines = traceback.extract_tb(error.__traceback__)
    places += [x.line or '' for x in lines]
  for key in (*config_lib.RENAMED, *config_lib.REMOVED):
    if any(re.search(rf'\b{re.escape(key)}\b', place) for place in places):
      return key
  return ''


def _explain(error: Exception, name: str) -> str:
  """Returns in one line why the flags or the config file can't be read."""
  text = str(error)
  old_key = _old_key(error)
  if old_key:
    return config_lib.explain_unknown(old_key, f'--{name}')
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
  if isinstance(error, LookupError):  # Its text is only a key.
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

"""Parses the flags of a command and runs it; a failure prints one line."""

import os
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
from unet_jax import config_files, defaults, errors, lookup, overrides

# For `Command.configs`.
CONFIG = {'config': 'Preset[:VARIANT], config file, or config.json of a run'}


class Command(NamedTuple):
  """A module that `python -m` runs: its flags, and the function that runs."""

  define: Callable[[flags.FlagValues], None]  # Defines the other flags.
  run: Callable[[flags.FlagValues], int | None]  # Returns the exit code.
  # Called before `run` if the command has its own process, not by `call`.
  start: Callable[[flags.FlagValues], None] | None = None
  configs: Mapping[str, str] = {}  # Flag of a config file -> its help.
  required: tuple[str, ...] = ()  # Required flags besides `configs`.
  words: str = ''  # Flag that arguments without a flag belong to.


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
    """Prints the text if the flag is set."""
    if self._parse(argument):
      print(self._text(), end='')
      raise _TextShown


class _FileFailed(Exception):
  """Names the flag of a config file whose loading raised the cause.

  absl would replace a ValueError, and so lose the line that raised it.
  """


class _FileParser(flags.ArgumentParser):
  """Loads the config that a flag names."""

  def __init__(self, name: str, entries: Sequence[overrides.Entry]):
    """Takes the flag's name, and the entries of maps that arguments set."""
    self._name, self._entries = name, entries

  def parse(self, argument: str) -> ml_collections.ConfigDict:
    """Loads the config, and adds the entries of maps."""
    try:
      config = config_files.load(argument)
    except (Exception, SystemExit) as error:
      raise _FileFailed(self._name) from error
    overrides.add_entries(config, self._entries)
    return config


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
    lower_bound=1,
    flag_values=args,
  )
  flags.DEFINE_integer(
    *('process_id', 0, 'Index of this process, from 0.'),
    lower_bound=0,
    flag_values=args,
  )
  flags.DEFINE_float(
    'peer_timeout',
    30,
    'Seconds after which a silent process is gone, and ends the others.',
    lower_bound=1,
    flag_values=args,
  )


def start_jax(args: flags.FlagValues, *, shares_devices: bool = True) -> None:
  """Prepares the process for JAX, for its engine and for other processes.

  Args:
    args: the flags.
    shares_devices: see joining.join.
  """
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
    joining.join(place, args.peer_timeout, facts, shares_devices=shares_devices)
    peers.watch(place.coordinator, args.peer_timeout, preemption.on_notices)


def start_training(args: flags.FlagValues) -> None:
  """Prepares the process for JAX, and for the signals that end a job."""
  from unet_jax import preemption  # For a fast --help.

  preemption.listen()
  start_jax(args)


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
  try:
    words = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
    entries = {}
    for name in command.configs:
      words, entries[name] = overrides.expand(words, name)
    args = _define(command, words, entries)
    rest = args(['', *words])
  except (_TextShown, errors.InputError):
    raise
  except _FileFailed as failed:
    text = config_files.explain(failed.__cause__, f'--{failed.args[0]}')
    raise errors.InputError(text) from None
  except Exception as error:  # Raised by absl or ml_collections.
    raise errors.InputError(_explain_flag(error, command)) from None
  if command.words:
    args[command.words].value = [*(args[command.words].value or ()), *rest[1:]]
  elif len(rest) > 1:
    raise errors.InputError(f'unexpected argument {rest[1]!r}; see --help')
  _require(command, args)
  return args


def _require(command: Command, args: flags.FlagValues) -> None:
  """Raises InputError if a flag that the command needs is missing."""
  for name in command.configs:
    if args[name].value is None:
      raise errors.InputError(
        f'--{name} is missing; name a preset or a file, such as --{name} '
        f'multiclass; the presets are {", ".join(config_files.presets())}'
      )
  for name in command.required:
    if not args[name].value:
      raise errors.InputError(f'--{name} is missing; see --help')


def _define(
  command: Command,
  argv: Sequence[str],
  entries: Mapping[str, Sequence[overrides.Entry]],
) -> flags.FlagValues:
  """Defines the command's flags and absl's, for one call."""
  args = flags.FlagValues()
  args.set_gnu_getopt(bool(command.words))  # Flags may follow words.
  for name, what in command.configs.items():
    config_flags.DEFINE_config_file(
      name,
      None,
      f'{what}; --{name}.KEY=VALUE sets a key.',
      flag_values=args,
      sys_argv=list(argv),
    )
    args[name].parser = _FileParser(name, entries[name])
  command.define(args)
  args.flags_by_module_dict().clear()  # So that --help prints one list.
  own = args.get_help(prefix='  ', include_special_flags=False)

  def text() -> str:
    return _help(command, own)

  def short() -> str:
    return f'{text()}\nTry --helpfull to get a list of all flags.\n'

  what = 'show this help'
  args['help'] = PrintFlag('help', what, short, '?')
  args['h'] = PrintFlag('h', what, short)
  args['helpshort'] = PrintFlag('helpshort', what, short)
  args['helpfull'] = PrintFlag(
    'helpfull', what, lambda: f'{text()}{flags.FLAGS.get_help()}\n'
  )
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    # FLAGS also lists a flag by its short name.
    if name == flag.name and name not in args:
      args[name] = flag
  return args


def _help(command: Command, own: str) -> str:
  """Returns what a command does, its flags, presets and common keys."""
  text = f'{sys.modules[command.run.__module__].__doc__}\nflags:\n{own}\n'
  if command.configs:
    text += (
      f'\npresets and their variants:\n{config_files.describe()}\n\n'
      f'keys that most runs set; `unet-jax keys` lists all:\n'
      f'{lookup.describe(defaults.MAIN)}\n'
    )
  return text


def _explain_flag(error: Exception, command: Command) -> str:
  """Returns in one line why the flags of a command can't be read."""
  last = (str(error) or type(error).__name__).splitlines()[-1].strip()
  if not isinstance(error, flags.UnrecognizedFlagError):
    return last
  if error.flagname.startswith('config') and not command.configs:
    return (
      f'there is no --{error.flagname} here: the config is that of the run; '
      'see --help'
    )
  near = lookup.nearest(error.flagname)
  hint = f'; did you mean --config.{near[0]}?' if near else ''
  return f'{last}{hint}; see --help'

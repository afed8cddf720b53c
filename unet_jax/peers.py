"""The other processes of a run: what they say, and whether they live.

JAX ends a process whose peer is gone by SIGABRT with a crash dump, after 100 s.
A thread sees it earlier, and says in one line which process is gone.
"""

import atexit
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import jax
from jax._src import distributed

BEAT = 1.0  # Seconds between two signs of life.
FOREVER = 1e9  # Seconds.
PREFIX = 'unet_jax'
DONE = 'done'  # The last sign of life.
ENDED = 'ended'  # The notice that a process has ended, and why.

_is_leaving = threading.Event()
_seconds = 0.0  # Of silence after which a process is gone.


class Store(NamedTuple):
  """The key-value store that the coordinator keeps for all processes."""

  client: Any  # JAX's client, or one with the same methods.
  process: int  # This one.
  num_processes: int

  def publish(self, key: str, value: str) -> None:
    """Sets a notice to all processes."""
    self.client.key_value_set(
      f'{PREFIX}/notices/{key}', value, allow_overwrite=True
    )

  def notices(self) -> dict[str, str]:
    """Returns the notices of all processes."""
    return self._read('notices')

  def exchange(self, key: str, value: str, seconds: float = 60) -> list[str]:
    """Publishes this process's value once; returns those of all processes."""
    self.client.key_value_set(f'{PREFIX}/{key}/{self.process}', value)
    keys = [f'{PREFIX}/{key}/{i}' for i in range(self.num_processes)]
    milliseconds = int(1000 * seconds)
    return [self.client.blocking_key_value_get(x, milliseconds) for x in keys]

  def beat(self, value: str) -> None:
    """Gives a sign of life that differs from the one before."""
    self.client.key_value_set(
      f'{PREFIX}/beats/{self.process}', value, allow_overwrite=True
    )

  def beats(self) -> dict[int, str]:
    """Returns the last sign of life of each process."""
    return {int(i): value for i, value in self._read('beats').items()}

  def _read(self, folder: str) -> dict[str, str]:
    pairs = self.client.key_value_dir_get(f'{PREFIX}/{folder}/')
    return {key.rpartition('/')[2]: value for key, value in pairs}


class Pulse:
  """Tells from their signs of life which processes are gone.

  Args:
    num_processes: number of processes.
    seconds: time without a new sign of life after which a process is gone.
    now: the time.
  """

  def __init__(self, num_processes: int, seconds: float, now: float):
    self._seconds = seconds
    self._last = {i: ('', now) for i in range(num_processes)}

  def gone(self, beats: Mapping[int, str], now: float) -> list[int]:
    """Returns the processes without a new sign of life for too long."""
    for i, beat in beats.items():
      if beat != self._last[i][0]:
        self._last[i] = beat, now
    return [
      i
      for i, (beat, since) in self._last.items()
      if beat != DONE and now - since > self._seconds
    ]


def exist() -> bool:
  """Returns whether this process has joined others."""
  state = distributed.global_state
  return state.client is not None and state.num_processes > 1


def index() -> int:
  """Returns the number of this process, from 0; starts no backend of JAX."""
  return distributed.global_state.process_id


def count() -> int:
  """Returns the number of processes that have joined; starts no backend."""
  return distributed.global_state.num_processes or 1


def exchange(key: str, value: str) -> list[str]:
  """Publishes this process's value once; returns those of all processes.

  Waits for them without a limit; `watch` ends a wait in vain.
  """
  return store().exchange(key, value, FOREVER) if exist() else [value]


def store() -> Store:
  """Returns the store of the processes that have joined."""
  state = distributed.global_state
  return Store(state.client, state.process_id, state.num_processes)


def watch(
  coordinator: str,
  seconds: float,
  on_notice: Callable[[dict[str, str]], None],
) -> None:
  """Watches the other processes in a thread.

  Args:
    coordinator: address of process 0.
    seconds: time without a sign of life after which a process is gone.
    on_notice: called with all notices at each beat.
  """
  global _seconds
  _seconds = seconds
  heard = [time.monotonic()]  # When process 0 last answered.

  def beat() -> None:
    shared, number = store(), 0
    pulse = Pulse(shared.num_processes, seconds, time.monotonic())
    try:
      while not _is_leaving.wait(BEAT):
        number += 1
        shared.beat(str(number))
        notices = shared.notices()
        heard[0] = time.monotonic()
        if shared.process == 0 and ENDED not in notices:
          _report_gone(shared, pulse)
        if ENDED in notices:
          _end(notices[ENDED])
        on_notice(notices)
      shared.beat(DONE)
    except jax.errors.JaxRuntimeError:
      lost(coordinator)

  def guard() -> None:  # Calls over a broken network wait for minutes.
    while not _is_leaving.wait(BEAT):
      if time.monotonic() - heard[0] > seconds:
        lost(coordinator)

  threads = [threading.Thread(target=x, daemon=True) for x in (beat, guard)]
  for thread in threads:
    thread.start()

  def end() -> None:
    _is_leaving.set()
    for thread in threads:
      thread.join(seconds)

  # Runs before JAX leaves the store, since it is registered later.
  atexit.register(end)


def _report_gone(shared: Store, pulse: Pulse) -> None:
  """Tells all processes, as process 0, if one of them is gone."""
  gone = pulse.gone(shared.beats(), time.monotonic())
  if gone:
    names = ', '.join(map(str, gone))
    seconds = f'{_seconds:g} s'
    shared.publish(ENDED, f'process {names} gave no sign of life for {seconds}')


def lost(coordinator: str) -> None:
  """Ends this process because process 0, which keeps the store, is gone."""
  if not _is_leaving.is_set():
    _end(f'process 0 at {coordinator} is gone')


def _end(why: str) -> NoReturn:
  """Ends this process with 1 because another one has ended."""
  print(f'error: {why}', file=sys.stderr, flush=True)
  if index() == 0:
    # The others need the store of this process to learn why.
    time.sleep(3 * BEAT)
  os._exit(1)


def leave(code: int) -> NoReturn:
  """Ends this process at once, as all others do."""
  sys.stdout.flush()
  sys.stderr.flush()
  if exist():
    _is_leaving.set()
    jax.distributed.shutdown()
  os._exit(code)


def await_end(error: Exception) -> None:
  """Waits for the watch to end this process, if a gone peer may be the cause.

  A collective fails, with a text that names no process, before the watch knows.
  """
  if isinstance(error, jax.errors.JaxRuntimeError):
    time.sleep(_seconds + 5 * BEAT)


def fail(why: str) -> NoReturn:
  """Ends this process with 1, and tells the others, which would wait for it."""
  sys.stdout.flush()
  sys.stderr.flush()
  _is_leaving.set()
  shared, host = store(), socket.gethostname()
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # Process 0 is gone.
    if ENDED not in shared.notices():
      shared.publish(ENDED, f'process {shared.process} on {host} ended: {why}')
  if shared.process == 0:
    # The others need the store of this process to learn why.
    time.sleep(3 * BEAT)
  os._exit(1)

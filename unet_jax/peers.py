"""The other processes of a run: what they say, and whether they live.

JAX ends a process whose peer is gone by SIGABRT with a crash dump, after 100 s.
A thread sees it earlier, and says in one line which process is gone.
"""

import atexit
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
PREFIX = 'unet_jax'
DONE = 'done'  # The last sign of life.
ENDED = 'ended'  # The notice that a process has ended, and why.

_is_leaving = threading.Event()
_seconds = 0.0  # Of silence after which a process is gone.


class Store(NamedTuple):
  """The key-value store that the coordinator keeps for all processes."""

  client: Any  # JAX's client, or one with the same methods.
  index: int  # Of this process.
  count: int  # Of all processes.

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
    self.client.key_value_set(f'{PREFIX}/{key}/{self.index}', value)
    keys = [f'{PREFIX}/{key}/{i}' for i in range(self.count)]
    milliseconds = int(1000 * seconds)
    return [self.client.blocking_key_value_get(x, milliseconds) for x in keys]

  def beat(self, value: str) -> None:
    """Gives a sign of life that differs from the one before."""
    self.client.key_value_set(
      f'{PREFIX}/beats/{self.index}', value, allow_overwrite=True
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
    count: number of processes.
    seconds: time without a new sign of life after which a process is gone.
    now: the time.
  """

  def __init__(self, count: int, seconds: float, now: float):
    self._seconds = seconds
    self._last = {i: ('', now) for i in range(count)}

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


def store() -> Store:
  """Returns the store of the processes that have joined."""
  state = distributed.global_state
  return Store(state.client, state.process_id, state.num_processes)


def watch(seconds: float, on_notice: Callable[[dict[str, str]], None]) -> None:
  """Watches the other processes in a thread.

  Args:
    seconds: time without a sign of life after which a process is gone.
    on_notice: called with all notices at each beat.
  """
  global _seconds
  _seconds = seconds
  thread = threading.Thread(
    target=_watch, args=(seconds, on_notice), daemon=True
  )
  thread.start()

  def end() -> None:
    _is_leaving.set()
    thread.join()

  # Runs before JAX leaves the store, since it is registered later.
  atexit.register(end)


def _watch(seconds: float, on_notice: Callable[[dict[str, str]], None]) -> None:
  shared = store()
  pulse = Pulse(shared.count, seconds, time.monotonic())
  number = 0
  try:
    while not _is_leaving.wait(BEAT):
      number += 1
      shared.beat(str(number))
      notices = shared.notices()
      if shared.index == 0 and ENDED not in notices:
        gone = pulse.gone(shared.beats(), time.monotonic())
        if gone:
          names = ', '.join(map(str, gone))
          shared.publish(
            ENDED, f'process {names} gave no sign of life for {seconds:g} s'
          )
          continue
      if ENDED in notices:
        _end(notices[ENDED])
      on_notice(notices)
    shared.beat(DONE)
  except jax.errors.JaxRuntimeError as error:
    lost(error)


def lost(_: Any) -> None:
  """Ends this process because process 0, which keeps the store, is gone."""
  if not _is_leaving.is_set():
    _end(f'process 0 at {distributed.global_state.coordinator_address} is gone')


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
  shared = store()
  if ENDED not in shared.notices():
    host = socket.gethostname()
    shared.publish(ENDED, f'process {shared.index} on {host} ended: {why}')
  if shared.index == 0:
    # The others need the store of this process to learn why.
    time.sleep(3 * BEAT)
  os._exit(1)

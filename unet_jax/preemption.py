"""Ends a run, saved, when a signal says that its machine will be taken away.

SLURM, Kubernetes and `docker stop` send such a signal some seconds before they
kill. A thread hears it, so that it is heard while the main thread compiles.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

from unet_jax import errors

if TYPE_CHECKING:
  # At run time functions import it: JAX takes seconds, in which `listen` hears.
  from unet_jax import peers

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
# Seconds in which a repeated signal is the same notice: `timeout` and launchers
# send one to the process, and one to its group.
AGAIN = 1.0
RESUME = 'the same command, without --overwrite, resumes'
KEY = 'preempted'  # In the store of the processes.


class Notice:
  """Whether a run must end, and after which step.

  Several processes must end after the same step, but none knows how far the
  others are, since the loops run ahead of the devices. So each process holds
  its loop, publishes the last step it has begun, and reads those of the others;
  all end one step after the largest.
  """

  def __init__(self):
    self.why = ''  # The signal, and the process that received it.
    self._lock = threading.Lock()
    self._step: int | None = None  # The last step begun; None outside the loop.
    self._last_step: int | None = None  # The step after which to end.

  @contextlib.contextmanager
  def training(self, step: int) -> Iterator[None]:
    """Wraps the loop that begins after `step`, and the wait for its last save.

    Outside of it a notice ends the process at once, since nothing is unsaved.

    Raises:
      Preempted: at its end, if there was a notice.
    """
    with self._lock:
      self._step = step
    try:
      yield
    finally:
      with self._lock:
        step, self._step = self._step, None
    if self.why:
      raise errors.Preempted(f'preempted by {self.why}: step {step} is saved')

  def reached(self, step: int) -> bool:
    """Returns whether to save and end after `step`; call it once a step."""
    with self._lock:
      self._step = step
      return self._last_step is not None and step >= self._last_step

  def give(self, why: str) -> bool:
    """Ends this process alone after its step; returns whether it trains."""
    with self._lock:
      self.why = why
      if self._step is not None:
        self._last_step = self._step + 1
      return self._step is not None

  def agree(self, why: str, store: 'peers.Store') -> bool:
    """Ends all processes after one step; returns whether all of them train."""
    with self._lock:
      self.why = why
      own = '' if self._step is None else str(self._step)
      steps = store.exchange(KEY, own)
      if all(steps):
        self._last_step = max(map(int, steps)) + 1
      return all(steps)


NOTICE = Notice()  # That of this process.


def listen() -> None:
  """Hears SIGNALS from now on, but for those that are ignored, as by nohup.

  Call it in the main thread. Handlers of JAX, which would take SIGTERM once the
  process has joined others, must be off.
  """
  heard, sent = os.pipe()
  os.set_blocking(sent, False)
  signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
  for number in SIGNALS:
    if signal.getsignal(number) is signal.SIG_DFL:
      # Does nothing: Python has written the number into the pipe before.
      signal.signal(number, lambda *_: None)
      # Python, at its exit, would let the signal kill a run that is finished.
      atexit.register(signal.signal, number, signal.SIG_IGN)
  threading.Thread(target=_hear, args=(heard,), daemon=True).start()


def _hear(pipe: int) -> None:
  """Reads signals: the first gives notice, a later one ends the process."""
  first = None
  while True:
    (number,) = os.read(pipe, 1)
    if number not in SIGNALS:
      continue
    name, now = signal.Signals(number).name, time.monotonic()
    if first is None:
      first = now
      from unet_jax import peers

      if peers.exist():
        peers.store().publish(KEY, f'{name} to process {peers.index()}')
      elif not NOTICE.give(name):
        leave(name)
    elif now - first > AGAIN:
      print(f'{name} again: not saved; {RESUME}', file=sys.stderr, flush=True)
      os._exit(128 + number)


def on_notices(notices: Mapping[str, str]) -> None:
  """Reads the notices of all processes, and ends this one if one says so."""
  from unet_jax import peers

  is_new = KEY in notices and not NOTICE.why
  if is_new and not NOTICE.agree(notices[KEY], peers.store()):
    leave(notices[KEY])


def leave(why: str) -> NoReturn:
  """Ends a process that has nothing to save."""
  from unet_jax import peers

  if peers.index() == 0:
    print(f'preempted by {why}; {RESUME}', file=sys.stderr, flush=True)
  peers.leave(errors.Preempted.code)

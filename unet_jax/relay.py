"""Keeps JAX from aborting once process 0 is gone.

JAX's client ends its process by SIGABRT, with a crash dump, as soon as its
connection to process 0 breaks. So it is given a relay in its own process, whose
connections do not break. The relay notices instead, and calls a function.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK = 1 << 16  # Bytes.


def start(host: str, port: int, on_loss: Callable[[], None]) -> str:
  """Starts the relay in threads.

  Args:
    host: that of process 0.
    port: that of process 0.
    on_loss: called in a thread when process 0 closes a connection.

  Returns:
    The relay's address, HOST:PORT.
  """
  server = socket.create_server(('127.0.0.1', 0))

  def serve() -> None:
    while True:
      near, _ = server.accept()
      try:
        far = socket.create_connection((host, port))
      except OSError:  # Not there yet; JAX tries again.
        near.close()
        continue
      _in_thread(_pass_on, near, far)
      _in_thread(_pass_back, far, near, on_loss)

  _in_thread(serve)
  return f'127.0.0.1:{server.getsockname()[1]}'


def _in_thread(function: Callable[..., None], *args) -> None:
  threading.Thread(target=function, args=args, daemon=True).start()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
  """Sends what JAX's client says to process 0, until the client ends."""
  _copy(near, far)
  with contextlib.suppress(OSError):
    far.shutdown(socket.SHUT_WR)


def _pass_back(
  far: socket.socket, near: socket.socket, on_loss: Callable[[], None]
) -> None:
  """Sends what process 0 says to JAX's client, until process 0 ends."""
  _copy(far, near)
  on_loss()
  near.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
  with contextlib.suppress(OSError):
    while part := source.recv(CHUNK):
      target.sendall(part)

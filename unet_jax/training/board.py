"""Files that grow with a run: lines, and TensorBoard's events.

Both survive a full disk. tensorboardX's own writer does not: its thread dies,
and its queue of ten then blocks the run for ever.
"""

import io
import pathlib
import socket
import struct
import time

from tensorboardX import record_writer
from tensorboardX.proto import event_pb2, summary_pb2


class Appender:
  """Appends to a file; what cannot be written is kept, and tried again."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self._pending = b''
    self._file: io.FileIO | None = None

  def write(self, part: bytes) -> str:
    """Appends bytes; returns why they are not in the file yet, or ''."""
    self._pending += part
    try:
      if self._file is None:
        self._file = self.path.open('ab', buffering=0)
      while self._pending:
        count = self._file.write(self._pending)
        self._pending = self._pending[count:]
    except OSError as error:
      return error.strerror or str(error)
    return ''

  def close(self) -> None:
    """Closes the file."""
    if self._file is not None:
      self._file.close()


class Board:
  """TensorBoard's events of a run, in the folder of the run."""

  def __init__(self, workdir: pathlib.Path, step: int):
    """Makes TensorBoard hide the events of earlier files after `step`."""
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self.file = Appender(workdir / name)
    self._write(event_pb2.Event(file_version='brain.Event:2'))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(event_pb2.Event(step=step + 1, session_log=start))

  def add(self, step: int, summary: summary_pb2.Summary) -> str:
    """Writes an event; returns why it is not in the file yet, or ''."""
    return self._write(event_pb2.Event(step=step, summary=summary))

  def _write(self, event: event_pb2.Event) -> str:
    event.wall_time = time.time()
    record = event.SerializeToString()
    length = struct.pack('<Q', len(record))
    return self.file.write(
      length
      + struct.pack('<I', record_writer.masked_crc32c(length))
      + record
      + struct.pack('<I', record_writer.masked_crc32c(record))
    )

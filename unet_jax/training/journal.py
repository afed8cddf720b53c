"""The journal of a run: when it trained, on what, and what it warned of.

A row is JSON with `time` (ISO 8601), `event` (begin, note, warning or end),
`step` and `text`. `begin` has the facts of setup.facts and `versions`, too.
"""

import contextlib
import datetime
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from unet_jax import parallel
from unet_jax.training import workdir as workdir_lib


@contextlib.contextmanager
def session(workdir: pathlib.Path, step: int, **facts: Any) -> Iterator[None]:
  """Writes when training begins after a step, and when and why it ends."""
  add(workdir, 'begin', step, **facts)
  try:
    yield
  except BaseException as error:
    add(workdir, 'end', step, str(error) or type(error).__name__)
    raise
  add(workdir, 'end', step)


def add(
  workdir: pathlib.Path, event: str, step: int, text: str = '', **facts: Any
) -> None:
  """Adds a row on the first process; a full disk stops nothing."""
  if not parallel.is_first():
    return
  now = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
  row = {'time': now, 'event': event, 'step': step, 'text': text, **facts}
  path = workdir / workdir_lib.JOURNAL
  with contextlib.suppress(OSError), path.open('a') as file:
    file.write(json.dumps(row) + '\n')

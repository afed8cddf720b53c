"""A long run needs no more memory than a short one, and compiles nothing."""

import pathlib

import harness
import jax
import pytest
from commands import call

from unet_jax.training import logs

pytestmark = pytest.mark.slow

STEPS = 10_000


def resident():
  """Returns the memory of this process in bytes."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * 4096


def test_memory_and_compilations_do_not_grow_with_the_steps(
  tmp_path, monkeypatch
):
  compiled, rows = [], []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
      compiled.append(event)
      if event.endswith('backend_compile_duration')
      else None
    )
  )
  write = logs.Log.write

  def recorded(self, step, split, row):
    write(self, step, split, row)
    rows.append((step, split, len(compiled), resident()))

  monkeypatch.setattr(logs.Log, 'write', recorded)
  args = harness.flags(tmp_path, '--workdir', tmp_path / 'run')
  call(
    *('main', *args, f'--config.total_steps={STEPS}'),
    *('--config.eval_every=1000', '--config.save_every=1000'),
    '--config.batch_size=4',
  )
  train = [row for row in rows if row[1] == 'train']
  assert train[-1][0] == STEPS
  for step, _, num, size in train[::100]:
    print(step, num, f'{size / 2**20:.0f} MiB')
  # The first evaluations and saves compile, and fill caches.
  settled = [row for row in train if row[0] > 3000]
  assert settled[0][2] == settled[-1][2] > 0
  assert settled[-1][3] - settled[0][3] < 30 * 2**20

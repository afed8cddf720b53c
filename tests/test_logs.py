"""What a run's log writes for TensorBoard."""

import csv
import errno
import os
import struct

import commands
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from unet_jax.training import logs


def read_tags(workdir):
  """Returns the tags of all values in a folder's TensorBoard events."""
  tags = []
  for path in workdir.glob('events.out.tfevents.*'):
    records = path.read_bytes()
    while records:  # Length, its checksum, the event, its checksum.
      (length,) = struct.unpack('<Q', records[:8])
      event = event_pb2.Event.FromString(records[12 : 12 + length])
      tags += [value.tag for value in event.summary.value]
      records = records[16 + length :]
  return tags


@pytest.mark.parametrize(
  'bad',
  [
    np.full(4, 1e20, np.float32),  # Equal and too large for NumPy to bin.
    np.array([1e20], np.float32),
    np.array([1.0, np.nan], np.float32),
  ],
)
def test_weights_that_have_no_histogram_are_skipped(tmp_path, bad):
  huge = np.array([3e38, -3e38], np.float32)
  params = {'down0': {'bias': bad}, 'head': {'bias': np.ones(1), 'huge': huge}}
  with logs.Log(tmp_path, step=0, total_steps=1) as log:
    log.histograms(1, params)
  assert read_tags(tmp_path) == ['weights/head/bias', 'weights/head/huge']


class Full:
  """A file on a disk with room for `room` bytes."""

  def __init__(self, file, room):
    self.file, self.room = file, room

  def write(self, content):
    if not self.room:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    count = self.file.write(content[: self.room])
    self.room -= count
    return count

  def close(self):
    self.file.close()


def test_rows_that_found_no_room_are_written_once_there_is_room(
  tmp_path, capsys
):
  with logs.Log(tmp_path, step=0, total_steps=9) as log:
    row = {'loss': 0.5, 'images_per_second': 1.0, 'data_wait': 0.0}
    log.write(1, 'train', row)
    full = Full(log._rows._file, 10)
    log._rows._file = full
    log._board.file._file = Full(log._board.file._file, 10)
    log.write(2, 'train', row)
    log.write(3, 'train', row)
    full.room = log._board.file._file.room = 1 << 20
    log.write(4, 'train', row)
  assert [x['step'] for x in commands.rows(tmp_path)] == [1, 2, 3, 4]
  assert read_tags(tmp_path).count('train/loss') == 4
  said = capsys.readouterr().out
  for name in ('metrics.jsonl', 'events.out.tfevents'):
    assert said.count(f'{tmp_path}/{name}') == 1
  assert said.count('cannot be written (No space left on device)') == 2


def test_the_table_grows_and_the_scores_of_the_end_are_not_said_twice(
  tmp_path, capsys
):
  def read_table():
    with (tmp_path / 'metrics.csv').open(newline='') as file:
      return [(x['step'], x['split']) for x in csv.DictReader(file)]

  speed = {'images_per_second': 1.0, 'data_wait': 0.0}
  with logs.Log(tmp_path, step=0, total_steps=9) as log:
    log.write(1, 'train', {'loss': 0.5, **speed})
    log.write(1, 'val', {'loss': 0.5, 'macro_f1': 0.7})
    assert read_table() == [('1', 'train'), ('1', 'val')]
    log.write(2, 'train', {'loss': 0.5, **speed})
    log.write(1, 'val', {'macro_f1': 0.7})
    assert len(read_table()) == 4
  said = capsys.readouterr().out
  assert said.count('macro F1 0.7') == 1
  with logs.Log(tmp_path, step=1, total_steps=9) as log:
    log.write(2, 'val', {'loss': 0.4, 'macro_f1': 0.8})
    assert read_table()[-1] == ('2', 'val')


@pytest.mark.parametrize(
  'damage',
  [
    b'{"step": 2, "spl',
    b'[1, 2]\n',
    b'7\n',
    b'\x80\xff\x00\n',
    b'{"step": "2", "split": "val"}\n',
    b'{"split": "val"}\n',
  ],
)
def test_damaged_rows_are_removed_and_sound_ones_stay(tmp_path, damage):
  path = tmp_path / 'metrics.jsonl'
  sound = b'{"step": 1, "split": "train"}\n'
  path.write_bytes(sound + damage)
  logs.drop_after(path, 5)
  assert path.read_bytes() == sound
  path.write_bytes(damage.rstrip(b'\n') + b'\n' + sound)
  logs.drop_after(path, 5)
  assert path.read_bytes() == sound


def test_tensorboard_reads_the_events(tmp_path):
  event_file_loader = pytest.importorskip(
    'tensorboard.backend.event_processing.event_file_loader'
  )
  with logs.Log(tmp_path, step=6, total_steps=9) as log:
    log.picture(7, 'val/0', np.zeros((4, 5, 3), np.uint8))
  (path,) = tmp_path.glob('events.out.tfevents.*')
  loaded = list(event_file_loader.LegacyEventFileLoader(str(path)).Load())
  assert [event.step for event in loaded] == [0, 7, 7]

"""What a run's log writes for TensorBoard."""

import struct

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

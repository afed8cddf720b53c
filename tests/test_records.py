"""What an evaluation leaves behind can be read, and scored, again."""

import csv

import numpy as np
import pytest

from unet_jax import errors
from unet_jax.evaluation import records

RECORD = records.Record(
  names=['im0', 'im,1'],
  groups=['p', 'q'],
  planes=['background', 'a'],
  num_foreground=1,
  step=7,
  counts=np.array([[(5, 1, 2, 8), (8, 2, 1, 5)], [(9, 0, 0, 0), (0, 0, 0, 9)]]),
  matrix=np.array([[(5, 2), (1, 8)], [(9, 0), (0, 0)]]),
  histogram=np.arange(2 * 2 * 8).reshape(2, 2, 8),
  outlines=np.array([[(0.5, 2.0, 0.5, np.nan)], [(np.nan,) * 4]]),
  objects=np.array([[(1, 1, 2, 1)], [(0, 0, 0, 0)]]),
  levels=np.zeros((2, 1, 17, 4), np.int64),
  variants=['at 1/2'],
  variant_counts=np.ones((1, 2, 2, 4), np.int64),
)


def test_a_record_is_read_as_it_was_written(tmp_path):
  path = tmp_path / 'evaluation' / 'val.npz'
  records.write(RECORD, path)
  again = records.read(path)
  for name, value in RECORD._asdict().items():
    np.testing.assert_array_equal(getattr(again, name), value)
  assert isinstance(again.step, int)
  assert [x.name for x in path.parent.iterdir()] == ['val.npz']


def test_a_record_of_an_earlier_version_has_no_variants(tmp_path):
  path = tmp_path / 'val.npz'
  values = RECORD._asdict()
  np.savez(path, **{k: x for k, x in values.items() if 'variant' not in k})
  again = records.read(path)
  assert list(again.variants) == []
  np.testing.assert_array_equal(again.counts, RECORD.counts)


def test_a_missing_or_damaged_record_names_the_command(tmp_path):
  path = tmp_path / 'run' / 'evaluation' / 'val.npz'
  path.parent.mkdir(parents=True)
  records.write(RECORD, path)
  squeezed = bytearray(path.read_bytes())
  # 30 bytes and the two names come before the compressed bytes of an archive.
  name, extra = (
    int.from_bytes(squeezed[i : i + 2], 'little') for i in (26, 28)
  )
  squeezed[30 + name + extra] ^= 0b110  # Its kind of compression.
  path.unlink()
  for content in (None, b'', b'PK\x03\x04damaged', bytes(squeezed)):
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(errors.InputError, match='evaluate --workdir .*/run '):
      records.read(path)


def test_csv_has_a_row_an_image_and_empty_cells_where_undefined(tmp_path):
  path = tmp_path / 'val.csv'
  records.write_csv(RECORD, path)
  rows = list(csv.DictReader(path.read_text().splitlines()))
  assert [row['image'] for row in rows] == ['im0', 'im,1']
  assert rows[0]['group'] == 'p'
  assert float(rows[0]['f1_a']) == pytest.approx(16 / 19, abs=1e-6)
  assert float(rows[0]['macro_f1']) == pytest.approx(16 / 19, abs=1e-6)
  assert rows[0]['fn_a'] == '1'
  assert rows[1]['f1_a'] == rows[1]['macro_f1'] == ''
  assert rows[1]['specificity_a'] == '1.000000'


def test_images_are_ranked_by_their_macro_f1_and_undefined_ones_left_out():
  a, b = (
    [(5, 5, 5, 0), (0, 0, 0, 15), (8, 1, 1, 5), (0, 3, 0, 12)],
    (0, 0, 0, 15),
  )
  counts = np.array([[b, row] for row in a])  # F1 1/2, undefined, 8/9 and 0.
  ranked = records.rank(RECORD._replace(counts=counts))
  assert ranked == [(3, 0), (0, 0.5), (2, pytest.approx(8 / 9))]


@pytest.mark.parametrize(
  ('num', 'expected'),
  [
    (0, ([], [], [])),
    (1, ([0], [], [])),
    (2, ([0], [], [1])),
    (5, ([0], [2], [4])),
    (7, ([0, 1], [2, 3], [5, 6])),
    (20, ([0, 1, 2], [8, 9, 10], [17, 18, 19])),
  ],
)
def test_the_median_is_in_the_middle_of_any_number(num, expected):
  chosen = records.extremes(range(num), 3)
  assert tuple(map(list, chosen.values())) == expected

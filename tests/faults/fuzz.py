"""Reads damaged files of all kinds: python tests/faults/fuzz.py COUNT RUN

Prints, as JSON, how many files were read and refused, and a traceback of each
other error. A file that takes more than HANG seconds ends the process.
"""

import collections
import contextlib
import faulthandler
import functools
import io
import json
import pathlib
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings

import numpy as np
import tifffile
from PIL import Image

from unet_jax import config, errors
from unet_jax.data import (
  files,
  mask_files,
  opening,
  rows,
  split_drawing,
  splits,
  stored,
)
from unet_jax.evaluation import prediction_table, records
from unet_jax.evaluation.report import page
from unet_jax.training import digests, logs

HANG = 30  # Seconds.
MEMORY = 8 * 2**30  # Bytes of the process.
SHAPE = (40, 56)


def save(path, mode='RGB', **settings):
  """Writes a picture with Pillow."""
  y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
  colors = np.stack([x * 4, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)
  if mode == 'I;16':
    image = Image.fromarray((x * y * 29).astype(np.uint16))
  else:
    image = Image.fromarray(colors).convert(mode)
  image.save(path, **settings)


def save_tiff(path, dtype=np.uint8, **settings):
  """Writes a picture with tifffile."""
  rng = np.random.default_rng(0)
  array = rng.integers(0, np.iinfo(dtype).max, (96, 80, 3)).astype(dtype)
  tifffile.imwrite(path, array, photometric='rgb', **settings)


def save_array(path, shape, dtype):
  """Writes an array of small numbers."""
  np.save(path, np.random.default_rng(0).integers(0, 2, shape).astype(dtype))


def read_picture(path):
  """Reads a file as a mask, as weights, by its header, and as an image."""
  as_mask = functools.partial(
    mask_files.read_mask, as_index=True, white=lambda: 65535
  )
  for read in (as_mask, files.read_weights, opening.size, stored.read):
    with contextlib.suppress(errors.InputError):
      read(path)
  files.read_image(path, channels=3)


def read_parts(path):
  """Reads a TIFF in parts."""
  with rows.open_rows(
    path,
    num_channels=3,
    channels='all',
    max_pixels=1,
    may_be_dark=lambda: True,
  ) as image:
    for top in range(0, min(image.shape[0], 10_000), 16):
      image.read(slice(top, min(top + 16, image.shape[0])))


def read_metrics(path):
  """Reads metrics.jsonl as a run does that resumes."""
  logs.drop_after(path, 10**9)
  logs.write_table(path)


def read_report(path):
  """Writes the report of a run with one damaged file."""
  page.write([path.parents[1]], path.parents[1] / 'new.html')


def read_groups(path):
  """Reads the patients of images from a table."""
  split_drawing.group(['im0', 'im1'], f'{path.name}:patient', path.parent)


GROUPS = 'image,patient\nim0,a\nim1,b\n'
NAMES = 'im0\nim1\nim2\n'

# Kind -> name of the file, what writes it, and what reads it.
PICTURES = {
  'png': ('x.png', save),
  'png16': ('x.png', functools.partial(save, mode='I;16')),
  'png_palette': ('x.png', functools.partial(save, mode='P')),
  'png_alpha': ('x.png', functools.partial(save, mode='RGBA')),
  'png_bits': ('x.png', functools.partial(save, mode='1')),
  'jpeg': ('x.jpg', functools.partial(save, quality=80)),
  'jpeg_steps': ('x.jpg', functools.partial(save, progressive=True)),
  'gif': ('x.gif', functools.partial(save, mode='P')),
  'webp': ('x.webp', save),
  'webp_exact': ('x.webp', functools.partial(save, lossless=True)),
  'bmp': ('x.bmp', save),
  'ppm': ('x.ppm', save),
  'pgm': ('x.pgm', functools.partial(save, mode='L')),
  'jp2': ('x.jp2', save),
  'tga': ('x.tga', functools.partial(save, compression='tga_rle')),
  'avif': ('x.avif', save),
  'tiff': ('x.tif', save),
  'tiff_lzw': ('x.tif', functools.partial(save, compression='tiff_lzw')),
  'tiff_jpeg': ('x.tif', functools.partial(save, compression='jpeg')),
  'tiff16': ('x.tif', functools.partial(save, mode='I;16')),
}
KINDS = {kind: (*parts, read_picture) for kind, parts in PICTURES.items()} | {
  'tiff_tiles': (
    'x.tif',
    functools.partial(save_tiff, tile=(32, 32), compression='zlib'),
    read_parts,
  ),
  'tiff_strips': (
    'x.tif',
    functools.partial(save_tiff, dtype=np.uint16, rowsperstrip=7),
    read_parts,
  ),
  'planes': (
    'x.npy',
    functools.partial(save_array, shape=(*SHAPE, 2), dtype=bool),
    files.read_planes,
  ),
  'weights': (
    'x.npy',
    functools.partial(save_array, shape=SHAPE, dtype=np.float32),
    files.read_weights,
  ),
  'list': (
    'train.txt',
    lambda path: path.write_text(NAMES),
    lambda path: splits.read_lists(path.parent),
  ),
  'groups': ('g.csv', lambda path: path.write_text(GROUPS), read_groups),
}
# The files of a run, which is copied.
RUN = {
  'config.json': config.load,
  'splits.json': lambda path: splits.load(path.parent),
  'digests.json': lambda path: digests.load(path.parent),
  'metrics.jsonl': read_metrics,
  'evaluation/val.npz': records.read,
  'evaluation/val.json': read_report,
  'masks/predictions.csv': prediction_table.read,
}


def mutate(content, rng):
  """Returns damaged bytes: the start, which holds the header, more often."""
  changed = bytearray(content)
  for _ in range(rng.integers(1, 4)):
    end = len(changed) if rng.random() < 0.5 else min(len(changed), 120)
    place = int(rng.integers(0, end + 1))
    length = int(rng.choice([1, 2, 4, 16, 200]))
    match rng.integers(0, 7):
      case 0 if place < len(changed):
        changed[place] ^= 1 << int(rng.integers(0, 8))
      case 1:
        changed[place : place + length] = rng.bytes(length)
      case 2:
        changed[place : place + length] = b'\xff' * length
      case 3:
        changed[place : place + length] = bytes(length)
      case 4:
        del changed[max(place, 8) :]
      case 5:
        del changed[place : place + length]
      case 6:
        changed[place:place] = changed[place : place + length] * 3
  # Text is damaged in its numbers and words, too.
  if rng.random() < 0.2:
    numbers = [x.span() for x in re.finditer(rb'\d+', changed)]
    if numbers:
      first, last = numbers[int(rng.integers(len(numbers)))]
      value = rng.choice(['-1', '1e999', 'null', '[]', '{}', '9' * 30, '"x"'])
      changed[first:last] = value.encode()
  return bytes(changed)


def listing(folder):
  """Returns the paths of all files under a folder."""
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


def run(kind, count, source):
  """Reads `count` damaged files; returns the outcomes and the tracebacks."""
  folder = pathlib.Path(tempfile.mkdtemp())
  if kind in RUN:
    shutil.copytree(source, folder / 'run')
    path, read = folder / 'run' / kind, RUN[kind]
    shutil.rmtree(folder / 'run/checkpoints', ignore_errors=True)
  else:
    name, write, read = KINDS[kind]
    path = folder / name
    write(path)
  sound = path.read_bytes()
  read(path)  # Else the kind tests nothing.
  before = listing(folder)
  outcomes, faults = collections.Counter(), []
  for seed in range(count):
    path.write_bytes(mutate(sound, np.random.default_rng(seed)))
    faulthandler.dump_traceback_later(HANG, exit=True)
    print(f'{kind} {seed}', file=sys.stderr, flush=True)
    try:
      with contextlib.redirect_stdout(io.StringIO()):
        read(path)
      outcomes['read'] += 1
    except errors.InputError as error:
      outcomes['refused'] += 1
      if '\n' in str(error):
        faults.append(f'{seed}: not one line: {error!r}')
    except Exception:
      outcomes['fault'] += 1
      faults.append(f'{seed}: {traceback.format_exc()}')
    faulthandler.cancel_dump_traceback_later()
    if listing(folder) != before:
      faults.append(f'{seed}: wrote {set(listing(folder)) ^ set(before)}')
      break
  shutil.rmtree(folder)
  return {'outcomes': outcomes, 'faults': faults}


if __name__ == '__main__':
  warnings.simplefilter('ignore')  # Of Pillow, on damaged metadata.
  resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
  count, source = int(sys.argv[1]), pathlib.Path(sys.argv[2])
  print(json.dumps({kind: run(kind, count, source) for kind in (*KINDS, *RUN)}))

"""The doctor as its user calls it: exit codes, reports, a config to train."""

import json
import re

import numpy as np
import pytest
from commands import call
from PIL import Image

from unet_jax import config as config_lib
from unet_jax import errors
from unet_jax.data.checks.finding import Finding, command, mend
from unet_jax.doctor import contact_sheet, page, proposal, report
from unet_jax.evaluation import pictures

NAMES = 'abcdefghij'
SPLITS = dict(train=NAMES[:6], val=NAMES[6:8], test=NAMES[8:])
TINY = (
  *('--config.image_size=32', '--config.batch_size=4'),
  *('--config.model.depth=2', '--config.model.width=4'),
  *('--config.total_steps=4', '--config.eval_every=4'),
)
FINDING = Finding(
  'warning',
  'rare class',
  'only <2> of 9 images',
  'add images',
  ('x/1.png', 'x/2.png'),
  2,
  {'data.resize': 96},
)


def doctor(root, *args, check=True, config='configs/binary.py:folder'):
  flags = ('--config', config, f'--config.data.root={root}', *TINY)
  return call('doctor', *flags, *args, check=check)


def test_clean_data_passes_with_a_report(write_folder, tmp_path):
  root = write_folder(NAMES, size=(48, 48), **SPLITS)
  html, table = tmp_path / 'a.html', tmp_path / 'a.json'
  done = doctor(root, '--html', html, '--json', table)
  assert '0 errors, 0 warnings' in done.stdout
  assert 'steps per epoch' in done.stdout
  assert re.search(r'a step needs about \d+\.\d GiB', done.stdout)
  report = json.loads(table.read_text())
  assert {x['severity'] for x in report['findings']} == {'note'}
  shares = report['splits']['test']['classes']['foreground']
  assert shares['images'] == 2
  assert shares['trivial_f1']['nowhere'] == 0
  text = html.read_text()
  assert f'<h1>{root}</h1>\n<p class="note">20' in text  # Then the date.
  assert '<meta name="viewport"' in text
  assert f'<figcaption>{NAMES[0]} (train): foreground</figcaption>' in text
  assert 'src="data:image/png;base64,' in text
  assert not re.search(r'(src|href)="(?!data:)', text)
  with Image.open(tmp_path / 'a.png') as sheet:
    assert sheet.width > 4 * 48


def test_faulty_data_ends_with_1_and_the_written_config_trains(
  write_folder, tmp_path
):
  root = write_folder(NAMES, size=(48, 48), **SPLITS)
  for path in (root / 'masks').iterdir():
    with Image.open(path) as image:
      mask = np.asarray(image)
    Image.fromarray(mask // 255 * 99).save(path)
  path = tmp_path / 'mended.py'
  crops = ('--show_augmented', tmp_path / 'crops')
  html = tmp_path / 'a.html'
  done = doctor(
    root, '--write_config', path, *crops, '--html', html, check=False
  )
  assert done.returncode == 1
  assert f'written to {path}\n' in done.stdout
  assert '--show_augmented: nothing is drawn until' in done.stdout
  assert not crops[1].exists()
  assert 'Refused by training: image, and masks as stored' in html.read_text()
  assert 'error undeclared mask values: 10 masks' in done.stdout
  assert 'Traceback' not in done.stderr
  text = path.read_text()
  assert (
    "config.data.masks.merge = {'background': (0,), 'foreground': (99,)}"
    in text
  )
  assert f'config.data.root = {str(root)!r}' in text
  again = call('doctor', '--config', path)
  assert '0 errors' in again.stdout
  run = call('main', '--config', path, '--workdir', tmp_path / 'run')
  assert 'test split, 2 images' in run.stdout


def test_a_set_that_cannot_be_opened_has_a_report_too(write_folder, tmp_path):
  root = write_folder()
  (root / 'masks').rename(root / 'labels')
  done = doctor(root, '--html', tmp_path / 'a.html', check=False)
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  assert 'masks: no such folder' in done.stdout
  assert 'masks: no such folder' in (tmp_path / 'a.html').read_text()


def test_without_config_it_says_so():
  done = call('doctor', check=False)
  assert done.returncode == 1
  assert done.stderr.startswith('error: --config is missing')


def test_training_prints_the_doctor_s_warnings(write_folder, tmp_path):
  root = write_folder(NAMES, size=(48, 48), **SPLITS)
  for name in SPLITS['test']:
    Image.new('L', (48, 48)).save(root / f'masks/{name}.png')
  args = ('--config', 'configs/binary.py:folder', *TINY)
  args += (f'--config.data.root={root}', '--workdir', tmp_path / 'run')
  assert (
    'no pixel of the test split is foreground' in call('main', *args).stdout
  )


# The report.


def test_report_that_cannot_be_written_is_reported(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.InputError, match='file/a.html cannot be'):
    report.write('', tmp_path / 'file' / 'a.html')


def test_mend_is_words_then_flags():
  assert mend(FINDING) == 'add images: --config.data.resize=96'
  assert command(FINDING._replace(settings={'data.masks.void': (127,)})) == (
    "--config.data.masks.void='(127,)'"
  )
  merge = {'data.masks.merge': {'a': (1,)}}
  assert command(FINDING._replace(settings=merge)) == (
    """--config.data.masks.merge="{'a': (1,)}\""""
  )
  merge = {'data.masks.merge': {f'class_{i}': (i,) for i in range(20)}}
  long = command(FINDING._replace(settings=merge))
  assert "config.data.masks.merge = {'class_0': (0,)," in long
  assert '--config.data' not in long


def test_json_has_every_file_and_the_remedy():
  rows = json.loads(report.to_json([FINDING], {'splits': {}}))
  assert rows['findings'] == [
    {
      'severity': 'warning',
      'title': 'rare class',
      'text': 'only <2> of 9 images',
      'remedy': 'add images',
      'files': ['x/1.png', 'x/2.png'],
      'number': 2,
      'settings': {'data.resize': 96},
      'command': '--config.data.resize=96',
      'mend': 'add images: --config.data.resize=96',
    }
  ]


def test_html_escapes_what_files_are_called():
  picture = np.zeros((4, 5, 3), np.uint8)
  findings = [FINDING._replace(files=('<script>.png',))]
  sheet = page.Sheet('Marked', [('<i>a', picture)], ['<u>b'])
  text = page.whole('<b>', findings, [], [sheet])
  for tag in ('<script>', '<i>a', '<u>', '<b>,'):
    assert tag not in text
  assert '&lt;script&gt;.png' in text
  assert 'only &lt;2&gt; of 9 images' in text


def test_every_finding_names_its_files(capsys):
  for severity in ('error', 'warning', 'note'):
    report.print_report([FINDING._replace(severity=severity)], [])
    assert '  files: x/1.png, x/2.png\n' in capsys.readouterr().out


def test_tables_are_aligned():
  text = report.lay_out(['class', 'n'], [['a', '10'], ['bcdefg', '5']])
  assert text.splitlines() == ['class    n', 'a       10', 'bcdefg   5']


# The config that is written.


def test_written_config_is_the_given_one_and_what_is_proposed(
  load_config, tmp_path
):
  config = load_config('multiclass:diaretdb1', **{'optim.lr': 0.5})
  notes = FINDING._replace(severity='note', settings={'seed': 7})
  later = FINDING._replace(settings={'data.resize': 50, 'batch_size': 2})
  proposed = proposal.collect([FINDING, later, notes])
  path = tmp_path / 'mended.py'
  path.write_text(
    proposal.to_source(config, proposed, title='x', path=str(path))
  )
  written = config_lib.ml_collections.ConfigDict(
    __import__('runpy').run_path(str(path))['get_config']()
  )
  assert config_lib.differences(config, written) == [
    'config.batch_size: 8 -> 2',
    'config.data.resize: 256 -> 96',  # The first that proposed it.
  ]


# The contact sheet.


def test_rarest_class_comes_first_and_an_empty_image_last():
  counts = np.array([(9, 0, 0), (5, 1, 0), (7, 0, 0), (0, 0, 0), (6, 0, 80)])
  chosen = contact_sheet.choose(counts, most=4)
  assert chosen[0] == 1
  assert chosen[1] != 1
  assert counts[chosen[1], 0]
  assert chosen[-1] == 3
  assert len(chosen) == len(set(chosen)) == 4
  assert sorted(contact_sheet.choose(counts)) == [0, 1, 2, 3, 4]


def test_the_smallest_object_has_an_outline():
  planes = np.zeros((2000, 1000, 2), bool)
  planes[501, 300, 1] = True
  image = np.full((2000, 1000, 1), 9, np.uint8)
  tile = contact_sheet.tile(image, planes, ~planes.any(-1) & False)
  assert tile.shape == (contact_sheet.TILE, contact_sheet.TILE // 2, 3)
  assert (tile == pictures.COLORS[1]).all(-1).sum() == 1


@pytest.mark.parametrize('num_tiles', [1, 4, 5])
def test_sheet_has_a_legend_of_every_class(num_tiles):
  tiles = [('a', np.zeros((30, 40 + i, 3), np.uint8)) for i in range(num_tiles)]
  names = [f'class_{i}' for i in range(9)]
  sheet = contact_sheet.sheet(tiles, names)
  for color in pictures.COLORS[:9]:
    assert (sheet == color).all(-1).any()
  assert sheet.dtype == np.uint8

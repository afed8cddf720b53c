"""The page of a run, and of several: what it holds, and how it looks."""

import html
import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from commands import call
from PIL import Image

from unet_jax import errors
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor import page as doctor_page
from unet_jax.doctor import report as doctor_report
from unet_jax.evaluation import records
from unet_jax.evaluation.report import advice, page
from unet_jax.evaluation.report import run as run_lib
from unet_jax.training import loop

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def evaluated(load_config, tmp_path_factory):
  """Gives the folder of a tiny run, scored with all scores, and the output."""
  folder = tmp_path_factory.mktemp('report')
  names = [f'im{i}' for i in range(16)]
  rng = np.random.default_rng(0)
  for kind in ('images', 'masks'):
    (folder / kind).mkdir()
  for name in names:
    mask = rng.choice(3, (4, 5), p=(0.8, 0.1, 0.1)).repeat(10, 0).repeat(10, 1)
    image = 60 * mask[..., None] + rng.integers(0, 90, (*mask.shape, 3))
    for kind, array in (('images', image), ('masks', mask)):
      path = folder / kind / f'{name}.png'
      Image.fromarray(array.astype(np.uint8)).save(path)
  for split, listed in zip(
    ('train', 'val', 'test'), (names[:4], names[4:6], names[6:]), strict=True
  ):
    (folder / f'{split}.txt').write_text('\n'.join(listed))
  settings = {'model.depth': 1, 'image_size': 32, 'total_steps': 4}
  masks = {'data.masks.kind': 'index', 'data.masks.merge': {}}
  where = {'data.source': 'folder', 'data.root': str(folder)}
  config = load_config(
    'multiclass:tiny',
    **settings,
    **masks,
    **where,
    **{'data.classes': ('a', 'b')},
  )
  workdir = folder / 'run <1>'
  loop.train_and_evaluate(config, workdir)
  return workdir, call('evaluate', '--workdir', workdir).stdout


def test_the_page_of_a_run_needs_no_other_file(evaluated):
  workdir, output = evaluated
  text = (workdir / 'report.html').read_text()
  assert f'{workdir}/report.html shows it' in output
  assert not re.search(r'(src|href|url\()=?"?(?!data:)https?:', text)
  assert text.count('url(data:image/jpeg;base64,') == 9
  # Loss, terms, F1, learning rate, gradients, and two curves of each class.
  assert text.count('<svg ') == 5 + 2 * 2
  assert html.escape(str(workdir)) in text
  assert '<1>' not in text


def test_the_page_shows_the_scores_of_the_evaluation(evaluated):
  workdir, _ = evaluated
  report = json.loads((workdir / 'evaluation/test.json').read_text())
  text = (workdir / 'report.html').read_text()
  f1 = report['pooled']['macro']['f1']
  low, high = report['intervals']['macro_f1']
  assert f'is {f1:.3f} (95 % interval {low:.3f} to {high:.3f})' in text
  for row in report['matrix']:
    for pixels in row:
      assert f'title="{pixels:,} pixels"' in text
  for name in ('a', 'b'):
    objects = report['objects'][name]
    assert f'<td>{objects["true"]}</td><td>{objects["found"]}</td>' in text


def test_the_page_says_when_and_on_what_the_run_trained(evaluated):
  workdir, _ = evaluated
  text = (workdir / 'report.html').read_text()
  for part in (
    *('<td>train 4, val 2, test 10</td>', '<td>4 x cpu (no GPU found)</td>'),
    *('convolutions: ', ' minutes</td>', 'The run reported nothing.'),
  ):
    assert part in text
  # What the page tells to type can be pasted.
  (line,) = re.findall('<code>(python -m unet_jax.doctor .*?)</code>', text)
  doctor, report = (shlex.split(x) for x in html.unescape(line).split(';'))
  assert doctor[4::2] == [f'{workdir}/config.json', f'{workdir}/doctor.json']
  assert report[2:] == ['unet_jax.report', str(workdir)]


def test_warnings_and_findings_stand_on_the_page_the_worst_first(
  evaluated, tmp_path
):
  workdir = tmp_path / 'run'
  shutil.copytree(evaluated[0], workdir)
  with (workdir / 'journal.jsonl').open('a') as file:
    for event, text in (('note', 'stopped <early>'), ('warning', 'a\nb')):
      row = dict(time='2026-01-02T23:50:00Z', event=event, step=4, text=text)
      file.write(json.dumps(row) + '\n')
    file.write('{"time": "2026-0')  # A killed process leaves such a row.
  finding = Finding('error', 'bad mask', 'x', 'mend it', ('<1>.png',), 1)
  findings = doctor_report.to_json([finding], {})
  (workdir / 'doctor.json').write_text(findings)
  call('report', workdir)
  text = (workdir / 'report.html').read_text()
  said = re.findall(r'<b>(.*?)</b> (.*?)</p>', text, re.DOTALL)
  assert said == [
    ('error: bad mask', 'x'),
    ('warning: step 4', 'a\nb'),
    ('note: step 4', 'stopped &lt;early&gt;'),
  ]
  assert '<p>Mend: mend it</p>' in text
  assert '&lt;1&gt;.png' in text
  assert 'unet_jax.doctor --config' not in text
  (workdir / 'journal.jsonl').unlink()
  call('report', workdir)
  text = (workdir / 'report.html').read_text()
  assert 'The run is of an earlier version, and kept no warnings.' in text


def test_an_evaluation_leaves_counts_and_a_row_an_image(evaluated):
  workdir, output = evaluated
  record = records.read(workdir / 'evaluation/test.npz')
  report = json.loads((workdir / 'evaluation/test.json').read_text())
  pooled = record.counts.sum(axis=0)
  for name, counted in zip(record.planes, pooled, strict=True):
    confusion = report['confusion'][name]
    assert confusion == dict(zip(records.CELLS, counted.tolist(), strict=True))
    assert record.histogram[record.planes.index(name)].sum() == counted.sum()
  rows = (workdir / 'evaluation/test.csv').read_text().splitlines()
  assert len(rows) == 1 + len(record.names) == 1 + report['num_images']
  assert 'obj. rec.' in output
  # The pictures are of the worst, median and best images.
  titles = list(report['pictures'].values())
  order = [record.names[i] for i, _ in records.rank(record)]
  assert titles[0].startswith(f'worst: {order[0]}, ')
  assert titles[-1].startswith(f'best: {order[-1]}, ')


def test_runs_are_compared_with_the_interval_of_their_difference(
  evaluated, tmp_path
):
  workdir, _ = evaluated
  other = tmp_path / 'other'
  shutil.copytree(workdir, other)
  record = records.read(other / 'evaluation/test.npz')
  better = record.counts.copy()
  better[:, :, 0] += better[:, :, 2]  # Nothing is missed.
  better[:, :, 2] = 0
  path = other / 'evaluation/test.npz'
  records.write(record._replace(counts=better), path)
  output = tmp_path / 'both.html'
  call('report', workdir, other, '--output', output)
  text = output.read_text()
  (cells,) = re.findall(r'<tr><td>[^<]*other</td>(.*?)</tr>', text, re.S)
  values = [float(x) for x in re.findall(r'([+-]\d\.\d+)', cells)]
  recall = np.mean(
    [row[0] / (row[0] + row[2]) for row in record.counts.sum(axis=0)[1:]]
  )
  assert text.count('<img src="data:image/jpeg;base64,') == 2
  value, low, high = values[9:12]  # Of the macro recall.
  assert value == pytest.approx(1 - recall, abs=6e-4)
  assert low <= value <= high


def test_runs_of_other_images_are_shown_without_a_difference(
  evaluated, tmp_path
):
  workdir, _ = evaluated
  other = tmp_path / 'other'
  shutil.copytree(workdir, other)
  config = json.loads((other / 'config.json').read_text())
  config['optim']['lr'] = 0.125
  (other / 'config.json').write_text(json.dumps(config))
  path = other / 'evaluation/test.npz'
  record = records.read(path)

  def compare():
    output = tmp_path / 'both.html'
    call('report', workdir, other, '--output', output)
    return output.read_text()

  records.write(record._replace(names=record.names[::-1]), path)
  text = compare()
  assert 'were scored on different images, so' in text
  assert '<h2>Curves</h2>' in text
  assert 'paired bootstrap' not in text
  assert re.search(r'<td>optim.lr</td><td>[^<]+</td><td>0.125</td>', text)
  records.write(record._replace(planes=record.planes[::-1]), path)
  assert 'were scored on different classes, so' in compare()
  path.unlink()  # As a run of an earlier version.
  assert f'python -m unet_jax.evaluate --workdir {other}' in compare()


def test_settings_other_than_the_defaults_are_listed(evaluated):
  text = (evaluated[0] / 'report.html').read_text()
  assert '<td>model.depth</td><td>4</td><td>1</td>' in text
  assert '<td>optim.schedule</td>' not in text


def test_what_cannot_be_shown_is_refused(evaluated, tmp_path):
  assert 'holds no run' in call('report', tmp_path, check=False).stderr
  assert '--run is missing' in call('report', check=False).stderr
  other = tmp_path / 'other'
  shutil.copytree(evaluated[0], other)
  shutil.rmtree(other / 'evaluation')
  with pytest.raises(errors.InputError, match='has no scores yet'):
    run_lib.read(other)


def test_damaged_scores_are_refused_with_the_command(evaluated, tmp_path):
  other = shutil.copytree(evaluated[0], tmp_path / 'other')
  path = other / 'evaluation/test.json'
  for change in (
    lambda tree: tree['pooled']['per_class'].pop('a'),
    lambda tree: tree.update(pooled=None),
    lambda tree: tree.update(pooled=[7]),
  ):
    tree = json.loads((evaluated[0] / 'evaluation/test.json').read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(errors.InputError, match='other cannot be shown .*anew'):
      page.write([other], tmp_path / 'page.html')


def test_advice_follows_from_the_scores(evaluated):
  workdir, _ = evaluated
  run = run_lib.read(workdir)
  report = json.loads(json.dumps(run.splits[0].report))
  del report['matrix']
  report['pooled']['per_class']['a'].update(precision=0.9, recall=0.3, f1=0.45)
  report['pooled']['per_class']['b'].update(precision=None, recall=0.0)
  report['curves']['a'].update(threshold=0.2, threshold_f1=0.6)
  report['curves']['b'].update(threshold=0.1, threshold_f1=0.5)
  report['pooled']['macro']['f1'] = 0.01
  report['intervals']['macro_f1'] = [0.0, 0.3]
  rows = [
    dict(split='val', step=i, macro_f1=0.1 * i, loss=3.0) for i in range(8)
  ]
  rows.append(dict(split='train', step=8, loss=1.0))
  split = run.splits[0]._replace(report=report)
  text = ' '.join(advice.advise(run._replace(splits=[split], rows=rows)))
  assert 'no better than a blind prediction' in text
  assert 'The interval is wide' in text
  assert 'a: the model misses more than it invents' in text
  assert 'with the threshold 0.200 instead of 0.5 F1 would be 0.600' in text
  assert 'The model finds no pixel of b: ' in text
  assert 'b: the model' not in text
  assert 'b: with the threshold 0.100 instead of 0.5 F1 would be 0.500' in text
  assert 'still rising at the end' in text
  assert 'The loss is 3 on val and 1 in training' in text
  worst = split.record.names[records.rank(split.record)[0][0]]
  assert f'It fails most on {worst} (' in text


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason='there is no Chromium')
@pytest.mark.parametrize('size', ['1280,900', '390,800'])
@pytest.mark.parametrize('kind', ['run', 'data'])
def test_chromium_shows_the_pages_without_an_error(
  evaluated, tmp_path, size, kind
):
  path = tmp_path / 'page.html'
  if kind == 'run':
    page.write([evaluated[0]], path)
    text, number = path.read_text(), 6 * 9  # Parts of pictures.
  else:
    finding = Finding('error', 'bad mask', 'x' * 200, '', ('y' * 200,))
    shown = [('a.png', np.zeros((80, 400, 3), np.uint8))] * 3
    sheet = doctor_page.Sheet('Sheet', shown, ['a', 'b'])
    row = [f'cell {i}' for i in range(20)]
    tables = [('train', row, [row])]
    text = doctor_page.whole('z' * 200, [finding], tables, [sheet])
    number = 3
  check = (
    '<script>addEventListener("load", () => {'
    'const parts = [...document.querySelectorAll(".part, img")];'
    'document.title = [parts.length,'
    'parts.filter((x) => x.getBoundingClientRect().height > 20).length,'
    'document.documentElement.scrollWidth <= innerWidth].join(" ");});</script>'
  )
  path.write_text(text.replace('</body>', f'{check}</body>'))
  done = subprocess.run(
    [
      *(CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu'),
      *('--enable-logging=stderr', f'--window-size={size}', '--dump-dom'),
      path.as_uri(),
    ],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  assert 'CONSOLE' not in done.stderr
  # All pictures are visible; nothing is too wide.
  title = re.search('<title>(.*)</title>', done.stdout)[1]
  assert title == f'{number} {number} true'

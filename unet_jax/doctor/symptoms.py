"""What goes wrong, what says so, and what mends it.

The rows of the data are those of CHECKS, with a cause and a remedy each; those
of training quote the monitor, the trace and the evaluation. In a quotation
`...` stands for what differs.

`python -m unet_jax.doctor.symptoms > docs/symptoms.md` writes the page.
"""

from typing import NamedTuple

from unet_jax.doctor import checks


class Row(NamedTuple):
  """A row of the table; flags and commands in `mend` are in backticks."""

  symptom: str
  says: str
  cause: str
  mend: str


DOCTOR = '`unet-jax doctor --config PRESET --html report.html`'
# Title of a check -> cause, and what mends it.
DATA = {
  'no folder': (
    'The root is another folder, or masks lie elsewhere.',
    '`--config.data.root=FOLDER`',
  ),
  'empty folder': (
    'The folder holds other files, or the files lie deeper.',
    'Move the files into it.',
  ),
  'image without mask': (
    'Masks have other names, or images have no object.',
    'Rename them, or `--config.data.masks.missing=absent`',
  ),
  'mask without image': (
    'An image was removed or renamed.',
    'Remove the mask, or list the images in train.txt.',
  ),
  'image without field of view': (
    'The folder of fields of view is incomplete.',
    '`--config.data.fov=estimate`',
  ),
  'ambiguous pair': (
    'An export was repeated in another format.',
    'Keep one file per name.',
  ),
  'left out': (
    'Files were saved in a format that is not read.',
    'Save them as PNG.',
  ),
  'empty list': ('The list was never filled.', 'One name a line.'),
  'no train list': (
    'Only val or test was listed.',
    'Add train.txt, or `--config.data.split.train=NAME-NAME`',
  ),
  'listed without file': (
    'A name is misspelt, or has its ending.',
    'Correct the list; names have no ending.',
  ),
  'listed twice': (
    'Lists were joined.',
    'List each name once; else test has seen train.',
  ),
  'unlisted images': ('The lists are older than the images.', 'Add the names.'),
  'transposed mask': (
    'An array was saved as [width, height].',
    'Save `mask.T`.',
  ),
  'size mismatch': (
    'Image or mask was scaled alone.',
    'Export both at one size, masks without interpolation.',
  ),
  'EXIF rotation': (
    'A camera stores how it was held; the mask does not.',
    'Rotate the masks, or remove the entry from the images.',
  ),
  'unreadable file': (
    'A copy was cut off, or the ending lies.',
    'Restore or remove the file.',
  ),
  'mixed mask scale': (
    'Two tools wrote the masks.',
    '`--config.data.masks.threshold=1`, or scale the masks alike.',
  ),
  'undeclared mask values': (
    'Masks are indices, colours or blurred by JPEG.',
    '`--config.data.masks.kind=index`, or `--config.data.masks.void=99`',
  ),
  'off by one': (
    'The tool counts classes from 1.',
    'Ignore it if every pixel has a class; else merge the values.',
  ),
  'agreement levels': (
    'Several experts marked the image.',
    '`--config.data.masks.threshold=126`, or probabilities: '
    '`--config.task=multilabel --config.data.masks.soft=252`',
  ),
  'constant image': ('The export failed.', 'Replace or remove the image.'),
  'near-black image': (
    'A dark frame, or 16 bits of which few are used.',
    'Replace or remove the image.',
  ),
  'constant channel': (
    'A channel was saved empty, or alpha was saved with it.',
    'Leave it out: `--config.data.channels=green`, or export anew.',
  ),
  'saturated image': (
    'The exposure was too long.',
    'Nothing, if what matters is not white.',
  ),
  'another scale': (
    'The images have other units, gains or cameras.',
    'Scale them alike, or `--config.data.normalise=image`',
  ),
  'NaN in image': (
    'A division by 0 before the image was saved.',
    'Replace or remove the image.',
  ),
  'mixed ranges': (
    'Some images were normalised before they were saved.',
    'Scale the images alike.',
  ),
  'mixed channels': (
    'Two cameras, or two exports.',
    'Nothing, if they show the same kind of thing.',
  ),
  'colour shift': (
    'The splits come from different cameras or days.',
    'Split again, or `--config.augment.brightness=0.3`',
  ),
  'overlapping classes': (
    'A softmax gives each pixel one class.',
    '`--config.task=multilabel`',
  ),
  'no overlaps': (
    'The classes exclude each other.',
    '`--config.task=multiclass`',
  ),
  'vanishing components': (
    'Images are scaled down more than small objects bear.',
    '`--config.data.resize=0`, with `--config.image_size=256`',
  ),
  'outside the view': (
    'The mask is shifted, or of another image.',
    'Compare them on the contact sheet; `--config.data.fov=estimate` makes '
    'the frame void.',
  ),
  'small images': (
    'Crops are larger than images.',
    '`--config.image_size=64`',
  ),
  'large objects': (
    'Crops are small, or images are large: a crop shows no whole object.',
    '`--config.data.resize=256 --config.image_size=256`, or what `unet-jax plan '
    '--config PRESET` proposes.',
  ),
  'duplicate images': (
    'A file was copied under another name.',
    'Keep copies in one split: `--config.data.split.group=RULE`',
  ),
  'near duplicates': (
    'Neighbours of a series, or one image saved twice.',
    'Keep them in one split: `--config.data.split.group=RULE`',
  ),
  'identical masks': (
    'A mask was saved under a wrong name.',
    'Compare them on the contact sheet.',
  ),
  'group leakage': (
    'Images were split without regard to the patient.',
    "`--config.data.split.group='([a-z]+)_'`",
  ),
  'absent class': (
    'The class is misspelt, or too rare to be in each split.',
    'Correct `--config.data.classes=cat,dog`, or split again.',
  ),
  'foreground is void': (
    'Masks of 0 and 255 are read as indices.',
    '`--config.data.masks.kind=binary`',
  ),
  'rare class': (
    'The class occurs rarely.',
    'Keep `--config.loss.dice=1`; add images, or merge classes.',
  ),
  'mostly foreground': (
    'Background is 255 and foreground 0.',
    "`--config.data.masks.merge.foreground='(0,)'`, or invert the masks.",
  ),
  'present in all': (
    'Images were chosen for their objects.',
    'Add images without the class if they will occur.',
  ),
  'empty images': (
    'Masks are missing, or nothing is there to mark.',
    'Leave the images out of train.txt if their masks are missing.',
  ),
  'distribution shift': (
    'The splits were drawn by name, date or hospital.',
    'Split again; without lists the split is stratified.',
  ),
  'steps per epoch': ('It is a number, not a fault.', 'Nothing.'),
  'short run': (
    'Few steps, or many images.',
    '`--config.total_steps=1000`',
  ),
  'batch size': (
    'The batch is no multiple of the devices, or exceeds the images.',
    '`--config.batch_size=4`',
  ),
  'set refused': ('The line says which.', 'As the line says.'),
  'refused': ('The line says which.', 'As the line says.'),
  'device memory': (
    'Crops, batch or width are too large.',
    '`--config.batch_size=2`, or `--config.model.remat=2`',
  ),
  'overfit': (
    'Rate, loss or masks prevent that two crops are learnt.',
    '`unet-jax doctor --config PRESET --overfit`, which names the one.',
  ),
}
RATE = '`--config.optim.lr=0.002`'
TRAINING = (
  Row(
    'The loss hardly changes.',
    'the weights hardly move: by at most ... of their norm',
    'The learning rate is too low.',
    RATE,
  ),
  Row(
    'The run ends by itself.',
    'the run diverged: the loss is ...',
    'The learning rate is too high.',
    RATE,
  ),
  Row(
    'The loss is missing in some rows.',
    'skipped ... of the last ... steps (a repeated fault is reported once)',
    'Loss or gradients were not finite; the weights stayed.',
    f'{RATE}, or `--config.optim.clip=1`',
  ),
  Row(
    'The run ends in its first steps.',
    'steps ... had to be skipped',
    'No step was finite any more.',
    f'{RATE}, or `--config.precision=float32`',
  ),
  Row(
    'Nothing changes after a few steps.',
    'the weight ... is not finite before the step',
    'An earlier step has spoilt the weights.',
    'Start over: `--overwrite`',
  ),
  Row(
    'Skipped steps name a few images.',
    'the preprocessed ... is not finite, for ...',
    'These images hold NaN or infinity.',
    DOCTOR,
  ),
  Row(
    'Skipped steps name a layer.',
    'the first layer that is not finite is ...',
    'Activations grew too large; with one image, that image is at fault.',
    f'{RATE}, and `--config.model.norm=batch`',
  ),
  Row(
    'Skipped steps name a term of the loss.',
    'the loss term ... is not finite, though every layer is',
    'The term is undefined for this batch.',
    '`--config.loss.smooth=1`',
  ),
  Row(
    'Skipped steps name a gradient.',
    'the gradient of ... is not finite, though the loss is',
    'The gradient overflowed on its way back.',
    '`--config.precision=float32`',
  ),
  Row(
    'Skipped steps cannot be repeated.',
    'the replayed step is finite: the weights have changed since then',
    'Steps after the failed one were sound.',
    'Nothing, if it stays rare.',
  ),
  Row(
    'One class has no F1.',
    'dead class: ...',
    'The class is rare, or looks like another.',
    '`--config.loss.class_weights=inverse`, or merge it with the other',
  ),
  Row(
    'Every pixel becomes background.',
    'background collapse: ...',
    'The foreground is rare, or the learning rate is too high.',
    f'`--config.loss.dice=1`, `--config.loss.class_weights=inverse`, {RATE}',
  ),
  Row(
    'Nearly every pixel becomes foreground.',
    'foreground flood: ...',
    'The learning rate is too high, or the masks are inverted.',
    f'{RATE}, and {DOCTOR}',
  ),
  Row(
    'The score on val no longer rises.',
    'stopped early: ... evaluations without a new best',
    'The model begins to learn train by heart, or has learnt all.',
    '`--config.early_stop=0` trains on.',
  ),
  Row(
    'F1 is as good as that of no image.',
    '... is no better than a trivial prediction',
    'The run is too short, or masks do not fit their images.',
    f'`--config.total_steps=1000`; {DOCTOR}',
  ),
  Row(
    'Accuracy is high, and F1 low.',
    'accuracy says nothing about ...',
    'Nearly every pixel is background, and accuracy counts it.',
    'Read F1 and IoU.',
  ),
  Row(
    'Two crops are learnt.',
    'crops, of ..., reach Dice ...: the run can learn',
    'Rate, loss and masks are sound.',
    'Nothing; train longer, or on more images.',
  ),
  Row(
    'Two crops are learnt with another rate or loss alone.',
    '... is at fault: with another, Dice is ...',
    'That setting.',
    f'The line says which, such as {RATE}',
  ),
  Row(
    'Two crops are not learnt.',
    '... does not help: the data is at fault',
    'Masks do not fit their images, or the model is too small.',
    f'{DOCTOR}, or `--config.model.width=32`',
  ),
)


def data_rows() -> list[Row]:
  """Returns a row for each finding of the doctor."""
  return [
    Row(check.meaning, check.title, *DATA[check.title])
    for check in checks.CHECKS
  ]


def page() -> str:
  """Returns docs/symptoms.md."""
  parts = [
    '# Symptoms, causes and remedies',
    'The last part of [the guide](guide.md): every message of the doctor and '
    'of a run. `...` stands for what differs. Generated from '
    '`unet_jax/doctor/symptoms.py` by `python -m unet_jax.doctor.symptoms > '
    'docs/symptoms.md`. Flags can be appended to the command, as '
    '`unet-jax train --config PRESET` or `unet-jax doctor --config PRESET`; '
    'words in capitals stand for yours.',
  ]
  for heading, rows in (
    ('Before training: what the doctor says', data_rows()),
    ('In training and after it: what a run says', TRAINING),
  ):
    lines = [
      '| symptom | the program says | cause | what mends it |',
      '| --- | --- | --- | --- |',
      *(f'| {x.symptom} | {x.says} | {x.cause} | {x.mend} |' for x in rows),
    ]
    parts += [f'## {heading}', '\n'.join(lines)]
  return '\n\n'.join(parts)


if __name__ == '__main__':
  print(page())

"""What goes wrong, what says so, and what mends it.

The rows of the data are those of CHECKS, with their CAUSES; those of training
quote the monitor, the trace and the evaluation. In a quotation `...` stands for
what differs.

`python -m unet_jax.doctor.symptoms > docs/symptoms.md` writes the page.
"""

from typing import NamedTuple

from unet_jax.doctor import causes, checks


class Row(NamedTuple):
  """A row of the table; flags and commands in `mend` are in backticks."""

  symptom: str
  says: str
  cause: str
  mend: str


DOCTOR = '`unet-jax doctor --config PRESET --html report.html`'
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
    Row(check.meaning, check.title, *causes.CAUSES[check.title])
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

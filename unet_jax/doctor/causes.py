"""Why the doctor finds what it finds, and what mends it."""

# Title of a check -> cause, and what mends it; flags and commands are in
# backticks.
CAUSES = {
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
    '`--config.data.resize=256 --config.image_size=256`, or what '
    '`unet-jax plan --config PRESET` proposes.',
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

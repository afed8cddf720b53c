"""Opens files of images and arrays, and refuses what Pillow would leave out."""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from unet_jax import errors

# Of two files of one name, the file with one of these endings is taken: an
# earlier version read no others.
FIRST_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.gif', '.ppm')
SUFFIXES = (
  *FIRST_SUFFIXES,
  *('.bmp', '.webp', '.jp2', '.pgm', '.pbm', '.pnm', '.tga', '.avif', '.jfif'),
)
IMAGES = (*SUFFIXES, '.npy')  # Of images; masks of that ending are planes.
# Pillow opens more, whatever the ending: for EPS it would run a program.
FORMATS = (
  *('PNG', 'JPEG', 'TIFF', 'GIF', 'PPM', 'BMP', 'DIB', 'WEBP', 'JPEG2000'),
  'AVIF',
)
# Tags of TIFF.
BITS, SAMPLES, SAMPLE_FORMAT = 258, 277, 339
TURN = 274  # As EXIF's orientation; above 4, height and width are swapped.
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # First bytes.
REDUCED = 254  # Its bit 0 marks a small copy of another page.


def open_file(path: pathlib.Path) -> ImageFile.ImageFile:
  """Opens an image file, of any of FORMATS, whatever its ending says.

  Raises:
    InputError: if there is no such file, or it is not such an image.
  """
  _check_file(path)
  # TGA has no signature: Pillow would take other files for it.
  is_tga = path.suffix.lower() == '.tga'
  try:
    return Image.open(path, formats=(*FORMATS, 'TGA') if is_tga else FORMATS)
  except Exception as error:  # Damaged files raise nearly anything.
    form = _tiff_form(path)
    if form:
      raise errors.InputError(
        f'{path}: {form}, which cannot be read; save it with 8 or 16 bits, and '
        'with 1 or 3 channels'
      ) from None
    raise errors.InputError(
      f'{path}: not a readable image ({_reason(error)}); restore or remove it'
    ) from None


def open_image(path: pathlib.Path) -> ImageFile.ImageFile:
  """Opens an image; refuses pages and channels that Pillow would leave out."""
  image = open_file(path)
  channels, pages = num_samples(image), num_pages(image, path)
  text = ''
  if image.mode == 'F':
    text = 'its values are floats; save it with 8 or 16 bits'
  elif channels > len(image.getbands()):
    text = (
      f'it has {channels} channels; save the 1 or 3 of them that training '
      'should see'
    )
  elif pages > 1:
    text = (
      f'it has {pages} pages, and a sample is one image; save each page of '
      f'images and masks as a file: {path.stem}_0000{path.suffix} and so on'
    )
  if text:
    image.close()
    raise errors.InputError(f'{path}: {text}')
  return image


@contextlib.contextmanager
def of_any_size() -> Iterator[None]:
  """Lifts Pillow's limit of 179 million pixels."""
  limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
  try:
    yield
  finally:
    Image.MAX_IMAGE_PIXELS = limit


def refuse_wide(image: ImageFile.ImageFile, path: pathlib.Path) -> None:
  """Refuses an image, not a mask, of signed or 32-bit values."""
  # Pillow reads 16-bit grey of PPM as mode I.
  if image.mode == 'I' and image.format != 'PPM':
    raise errors.InputError(
      f'{path}: its values are signed or of 32 bits; save it with 8 or 16 bits'
    )


def is_tiff(path: pathlib.Path) -> bool:
  """Returns whether a file begins as a TIFF does."""
  _check_file(path)
  with path.open('rb') as file:
    return file.read(4) in TIFF


def num_samples(image: ImageFile.ImageFile) -> int:
  """Returns the channels of a TIFF by its tags; 1 for other files."""
  return getattr(image, 'tag_v2', {}).get(SAMPLES, 1)


def num_pages(image: ImageFile.ImageFile, path: pathlib.Path) -> int:
  """Counts pages and frames, without previews and small copies."""
  return decode(_count_pages, path, image)


def is_turned(image: ImageFile.ImageFile) -> bool:
  """Returns whether Pillow mixes the pixels of a TIFF that lies on its side.

  Pillow 13 swaps the sides of an uncompressed one before it decodes it.
  """
  turn = getattr(image, 'tag_v2', {}).get(TURN, 1)
  return turn > 4 and image.tile[0][0] == 'raw'


def is_cut(image: ImageFile.ImageFile) -> bool:
  """Returns whether Pillow keeps the upper 8 of 16 bits of a colour file."""
  return image.mode in ('RGB', 'RGBA') and ';16' in tiles(image)


def _count_pages(image: ImageFile.ImageFile) -> int:
  num_pages = getattr(image, 'n_frames', 1)
  if num_pages == 1 or image.format == 'MPO':  # A JPEG with its preview.
    return 1
  if isinstance(image, TiffImagePlugin.TiffImageFile):
    kinds = []
    for page in range(num_pages):
      image.seek(page)
      kinds.append(image.tag_v2.get(REDUCED, 0))
    image.seek(0)
    return sum(not kind & 1 for kind in kinds)
  return num_pages


def is_deep_grey(image: Image.Image) -> bool:
  """Returns whether an image is grey with 16 bits."""
  return image.mode in ('I;16', 'I;16L', 'I;16B')


def tiles(image: ImageFile.ImageFile) -> str:
  """Returns the names that Pillow gives to the storage of the values."""
  return ' '.join(str(tile[3]) for tile in image.tile)


def decode(function, path: pathlib.Path, *args, **kwargs):
  """Calls a function that decodes a file; raises InputError if it is torn."""
  try:
    return function(*args, **kwargs)
  except Exception as error:  # Damaged files raise nearly anything.
    raise errors.InputError(
      f'{path}: damaged or truncated ({_reason(error)}); restore or remove it'
    ) from None


def load_array(path: pathlib.Path, *, in_memory: bool = True) -> np.ndarray:
  """Reads the array of a .npy file.

  Args:
    path: of the file.
    in_memory: whether to read the values at once.

  Raises:
    InputError: if there is no such file, or it is not such an array.
  """
  _check_file(path)
  try:
    array = np.load(
      path, mmap_mode=None if in_memory else 'r', allow_pickle=False
    )
  except Exception as error:  # A damaged header raises nearly anything.
    raise errors.InputError(
      f'{path}: not a readable .npy file ({_reason(error)}); restore or remove '
      'it'
    ) from None
  if not isinstance(array, np.ndarray):
    raise errors.InputError(
      f'{path}: an .npz archive, not an .npy file; save one array with np.save'
    )
  return array


def _reason(error: Exception) -> str:
  return ' '.join(str(error).split()) or type(error).__name__


def _check_file(path: pathlib.Path) -> None:
  """Refuses what is no regular file: reading from a pipe may never end."""
  if not path.is_file():
    what = 'not a regular file' if path.exists() else 'no such file'
    raise errors.InputError(f'{path}: {what}')


def _tiff_form(path: pathlib.Path) -> str:
  """Describes the values of a sound TIFF; '' if a file is no such TIFF."""
  try:
    with path.open('rb') as file:
      tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
      file.seek(tags.next)
      tags.load(file)
    bits, samples = max(tags[BITS]), tags.get(SAMPLES, 1)
    kinds = {1: 'whole', 2: 'signed', 3: 'floating-point'}
    kind = kinds.get(max(tags.get(SAMPLE_FORMAT, (1,))), 'other')
  except Exception:  # Damaged tags raise nearly anything.
    return ''
  channels = f'{samples} channels' if samples > 1 else '1 channel'
  return f'a TIFF of {channels} of {kind} numbers of {bits} bits'

"""Scores small cases with other libraries, for tests/test_metric_peers.py.

  python3.11 -m venv peers
  peers/bin/pip install torch==2.13.0 torchmetrics monai scikit-image \
      opencv-python-headless
  peers/bin/python benchmarks/peers/metric_values.py tests/metric_peers.json

Where the definitions differ, the comment says how, and the test converts.
"""

import importlib.metadata
import json
import pathlib
import sys

import cv2
import numpy as np
import torch
from monai import metrics as monai
from scipy import ndimage
from skimage import morphology
from torchmetrics.functional import classification

SHAPE, NUM_CLASSES = (48, 64), 3
PACKAGES = (
  *('torch', 'torchmetrics', 'monai', 'scikit-image'),
  'opencv-python-headless',
)


def main() -> None:
  """Writes the cases and their values to the file that is named."""
  cases = [make_case(seed) for seed in range(4)]
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  text = json.dumps({'versions': versions, 'cases': cases}, indent=1)
  pathlib.Path(sys.argv[1]).write_text(text + '\n')


def make_case(seed: int) -> dict:
  """Draws a prediction and a truth, and scores them."""
  rng = np.random.default_rng(seed)
  noise = ndimage.gaussian_filter(rng.normal(size=(3, *SHAPE)), (0, 2, 2))
  limits = [[0.6], [0.85]]
  truth, pred = (
    sum(x > np.quantile(x, limit) for limit in limits).astype(np.uint8)
    for x in (noise[0], 2 * noise[0] + noise[1])
  )
  # Logits in the middle of the bins of unet_jax/evaluation/curves.py, so that
  # its histograms lose nothing.
  logits = np.round((20 * noise[2] + 6 * (truth > 0) - 4) * 256 / 3) + 0.5
  logits *= 3 / 256
  return {
    'shape': SHAPE,
    'truth': truth.tobytes().hex(),
    'pred': pred.tobytes().hex(),
    'logits': logits.astype(np.float32).tobytes().hex(),
    'classes': score_classes(pred, truth),
    'curves': score_curves(logits, truth > 0),
    'masks': score_masks(pred > 0, truth > 0),
  }


def score_classes(pred: np.ndarray, truth: np.ndarray) -> dict:
  """Returns confusion matrix and scores; every class occurs in both.

  torchmetrics calls a score of 0 / 0 by default 0, where ours is undefined.
  """
  pair = torch.tensor(pred.astype(int)), torch.tensor(truth.astype(int))
  settings = dict(num_classes=NUM_CLASSES)
  names = {
    'precision': classification.multiclass_precision,
    'recall': classification.multiclass_recall,
    'specificity': classification.multiclass_specificity,
    'iou': classification.multiclass_jaccard_index,
    'f1': classification.multiclass_f1_score,
  }
  values = {
    name: function(*pair, average='none', **settings).tolist()
    for name, function in names.items()
  }
  for name, beta in (('f05', 0.5), ('f2', 2.0)):
    values[name] = classification.multiclass_fbeta_score(
      *pair, beta=beta, average='none', **settings
    ).tolist()
  matrix = classification.multiclass_confusion_matrix(*pair, **settings)
  return values | {'matrix': matrix.tolist()}


def score_curves(logits: np.ndarray, truth: np.ndarray) -> dict:
  """Returns average precision, AUROC and the calibration error in 15 bins.

  In float64, because torchmetrics computes in the dtype that it gets.
  """
  probs = torch.sigmoid(torch.tensor(logits.ravel()))
  target = torch.tensor(truth.ravel().astype(int))
  error = classification.binary_calibration_error(probs, target, n_bins=15)
  return {
    'ap': classification.binary_average_precision(probs, target).item(),
    'auroc': classification.binary_auroc(probs, target).item(),
    'ece': error.item(),
  }


def score_masks(pred: np.ndarray, truth: np.ndarray) -> dict:
  """Returns the scores of outlines and of centre lines."""
  one_hot = [torch.tensor(mask)[None, None] for mask in (pred, truth)]
  hd95 = monai.compute_hausdorff_distance(
    *one_hot, include_background=True, percentile=95
  )
  dice = monai.compute_surface_dice(
    *one_hot, class_thresholds=[2.0], include_background=True
  )
  bands = [boundary(mask) for mask in (pred, truth)]
  lines = [morphology.thin(mask) for mask in (pred, truth)]
  shares = (
    (lines[0] & truth).sum() / lines[0].sum(),
    (lines[1] & pred).sum() / lines[1].sum(),
  )
  return {
    'hd95': hd95.item(),
    'surface_dice': dice.item(),
    'boundary_iou': np.sum(bands[0] & bands[1]) / np.sum(bands[0] | bands[1]),
    'cl_dice': 2 * shares[0] * shares[1] / (shares[0] + shares[1]),
    'skeleton': np.packbits(lines[1]).tobytes().hex(),
  }


def boundary(mask: np.ndarray) -> np.ndarray:
  """Returns the band of the code published with Cheng et al. 2021."""
  height, width = mask.shape
  radius = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
  wide = cv2.copyMakeBorder(
    mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
  )
  eroded = cv2.erode(wide, np.ones((3, 3), np.uint8), iterations=radius)
  return mask & (eroded[1:-1, 1:-1] == 0)


if __name__ == '__main__':
  main()

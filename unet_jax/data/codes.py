"""Values of a label that are no class."""

VOID = 255  # The pixel doesn't count: unlabelled, or outside the image.
CERTAIN = 254  # What stands for 1 in a label that is a probability.

"""Values of a label that are not classes."""

VOID = 255  # The pixel doesn't count: unlabelled, or outside the image.
CERTAIN = 254  # Means 1 in a label that is a probability.

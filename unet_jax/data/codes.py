"""Values of labels that are not classes, and the range of 8-bit images."""

VOID = 255  # The pixel doesn't count: unlabelled, or outside the image.
CERTAIN = 254  # Means 1 in a label that is a probability.
BYTES = (0.0, 255.0)  # Black and white in images of 8 bits.

"""What the standards of image metadata say, and the sloppy forms in which programs write it."""

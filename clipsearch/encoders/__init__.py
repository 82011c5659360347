"""Models behind the encoder protocol: OpenCLIP with torch, and text towers without it."""

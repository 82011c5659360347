"""Models behind the encoder protocol: OpenCLIP with torch, and text encoders without it."""

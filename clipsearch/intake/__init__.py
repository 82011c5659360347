"""From a source to vectors: reading, decoding, encoding and the account of a run."""

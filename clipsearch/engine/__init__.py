"""The index engine: vectors on disk, the catalog beside them, and searches over both."""

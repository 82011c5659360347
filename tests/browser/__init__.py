"""A person at the page, in real Chromium."""

"""The parts of zero-shot classification: labels, prompts, heads, calibration and measures."""

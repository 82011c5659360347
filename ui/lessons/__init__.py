"""The lessons of the Learn tab."""

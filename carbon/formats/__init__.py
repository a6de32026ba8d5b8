"""A statement as a file: JSON is the master, every other format derives from it alone."""

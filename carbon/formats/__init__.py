"""A statement as a file: JSON is the master, CSV and HTML derive from it."""

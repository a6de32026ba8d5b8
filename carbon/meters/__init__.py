"""Meters: cumulative energy readings of devices, and the CPU time of our own processes and threads."""

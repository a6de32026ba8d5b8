"""Meters outside the machine's own counters: a wall or node meter that is read over HTTP or from a file."""

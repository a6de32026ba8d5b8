"""Engines: what runs a batch of one variant."""

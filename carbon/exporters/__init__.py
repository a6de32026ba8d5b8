"""Where a tracker's figures go: files and monitoring systems, one module each."""

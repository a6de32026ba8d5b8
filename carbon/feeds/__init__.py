"""Grid intensity: readings by zone and time, each with its origin."""

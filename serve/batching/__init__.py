"""Late-bound batching: rows wait in deadline order until the engine is free, then the best batch is cut."""

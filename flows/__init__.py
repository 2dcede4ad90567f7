"""The flows: wiring, order, timeout and undoing."""

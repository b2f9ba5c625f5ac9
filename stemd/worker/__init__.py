"""The process that separates: loads a model once, then takes one job at a time."""

"""Which of the faster ways to compute an engine uses on this machine: tried once per machine and model, remembered."""

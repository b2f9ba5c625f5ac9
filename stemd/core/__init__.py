"""Words and rules: errors, jobs, configuration. No threads, no I/O beyond configuration files."""

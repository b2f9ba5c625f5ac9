"""Audio in, stems out. Knows no spool, no user and no configuration file."""

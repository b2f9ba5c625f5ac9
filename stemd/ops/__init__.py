"""What operators see: logs, metrics, health, the HTTP port, and one truth about the spool."""

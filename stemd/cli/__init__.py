"""The command line: thin commands over the spool and the daemon's control socket."""

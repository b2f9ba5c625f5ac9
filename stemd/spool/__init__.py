"""The directory is the state: the only code that renames or deletes anything in the spool."""

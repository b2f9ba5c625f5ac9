"""The rows of the error table, by family."""

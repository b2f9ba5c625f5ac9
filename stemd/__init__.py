"""stemd: drop a song into a folder, get its stems from another."""

__version__ = "0.1.0"

"""``python -m stemd``: the same as the command ``stemd``."""

from stemd.cli.main import main

if __name__ == "__main__":
    main(prog_name="stemd")

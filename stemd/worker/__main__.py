"""``python -m stemd.worker SETUP``: one worker process. Started by the daemon's pool, never by people."""

from stemd.worker.main import main

if __name__ == "__main__":
    main()

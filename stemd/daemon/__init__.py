"""The service: watches, decides, hands out work, and sees every job to its end."""

"""Songs as notes: everything is drawn from one random generator, and nothing is copied from any music."""

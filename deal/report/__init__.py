"""Reports over stored results: what was scored, and what the acquisition functions make of it."""

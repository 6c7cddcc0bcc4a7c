"""A run over a pool: threads, queues, rows, progress; it alone knows every stage."""

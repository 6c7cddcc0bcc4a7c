"""What is stored: schema, parts, lock, reading."""

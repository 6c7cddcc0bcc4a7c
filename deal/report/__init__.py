"""Reports on stored results: picks of acquisition functions, loops, and quality of difficulty."""

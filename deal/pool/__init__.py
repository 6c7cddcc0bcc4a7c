"""What lies in a pool: items, ids, manifests, decoding."""

"""Where regions come from: grids, superpixels, components, files."""

"""Sources of regions: grids, superpixels, components, files."""

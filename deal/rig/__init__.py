"""What a rig keeps on its disk, so that a power cut loses no more than what waited in memory."""

"""Export of trained checkpoints to the model contract (installed as ``deal.export``)."""

"""The model contract: the facts that an ONNX file, or a file beside it, must state."""

"""The model contract: what an ONNX file must say, and what may be added beside it."""

"""The method, section by section: tensors in, tensors out; nothing of the rest of the package is used."""

"""The local web page on which objects are marked, followed and corrected."""

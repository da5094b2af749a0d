"""Readers: from files, folders, cameras and addresses to frames; and masks and pictures from disk."""

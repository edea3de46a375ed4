"""The lake: Delta tables whose own transaction log is the checkpoint."""

"""Backfill: a period of the past, slice by slice, through the log into the lake."""

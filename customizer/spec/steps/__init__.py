"""The kinds of step, one file each: whatever stands here is a kind, `kinds.py` apart."""

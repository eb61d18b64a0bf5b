"""The Redis scripts: one file, one operation, one slot; each header says what goes in and what comes out."""

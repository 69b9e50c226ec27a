"""Table to dense panel (`panel`, no torch) and batches gathered on the device (`gather`)."""

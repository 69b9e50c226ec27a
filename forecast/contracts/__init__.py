"""What the data means: names, units, tables, specifications, errors. Polars and the standard library only."""

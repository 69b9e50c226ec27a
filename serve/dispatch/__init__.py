"""What dispatchers ask of the newest forecast, as arrays and tables: who, when, how much room, how likely, what if."""

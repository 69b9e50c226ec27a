"""The published artefact: `export` writes it (with torch), `load` verifies and opens it (without)."""

"""The commands of `python -m forecast`, a module each: `add` declares one, and parsing leaves what to `run`."""

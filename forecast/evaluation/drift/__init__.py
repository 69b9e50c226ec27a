"""Whether the world has moved since the version in service was made."""

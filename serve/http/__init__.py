"""HTTP around the engine: connections, the guard before every route, and the rooms behind it."""

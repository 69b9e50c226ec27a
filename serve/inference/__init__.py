"""The graph for callers who bring their own tensors, whatever the protocol that carries them."""

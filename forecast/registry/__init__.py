"""Published bundles: atomic publish, rollback, retention."""

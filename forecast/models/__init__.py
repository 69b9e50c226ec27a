"""Networks: a batch in, quantiles out. Each is one file; scaling, masks and non-crossing quantiles live inside."""

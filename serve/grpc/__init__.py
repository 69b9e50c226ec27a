"""What the server answers over gRPC; needs the extra `grpc`, and is imported only where a port is given for it."""

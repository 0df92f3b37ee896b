"""MemqlService: streams over gRPC and WebSocket, the HTTP endpoints, and graceful draining."""

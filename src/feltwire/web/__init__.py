"""The service face: one ASGI application."""

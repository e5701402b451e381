"""The one suite of conversations over HTTP: each web framework, on each store."""

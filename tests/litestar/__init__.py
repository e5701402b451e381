"""Tests of the Litestar controller, its plugin and the example application."""

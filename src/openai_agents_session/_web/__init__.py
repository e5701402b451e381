"""Conversations over HTTP, without a web framework: what ``litestar`` and ``fastapi`` share.

errors.py   what clients and the log are told when something goes wrong
runs.py     runs of an agent for a request, and the events of a stream
schemas.py  requests and responses
"""

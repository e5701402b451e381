"""Compile the checker beforehand, and say where it is."""

from tests.linearizability import install

print(install())

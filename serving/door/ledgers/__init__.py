"""Stores of usage: a file, and a database that several machines share."""

"""Stores: one database that holds definitions, executions, events, work, values and the command inbox."""

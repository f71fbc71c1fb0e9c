"""The command line: `commands` declares it, each other module does the work of some commands.

`commands` imports nothing heavier than click; what a command needs is loaded when it is run.
"""

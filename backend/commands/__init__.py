"""The command line, one module or folder a command; what a server does per request is not here."""

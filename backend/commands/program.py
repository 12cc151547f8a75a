"""How a command starts further processes of this project."""

import sys

# By this interpreter, and with -P: what lies in the folder that the user is in is not imported.
PROGRAM = (sys.executable, "-P", "-m", "dgl_rsis")

"""`python -m selfedit`."""

import sys

from selfedit.cli import main

sys.exit(main())

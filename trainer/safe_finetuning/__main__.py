"""`python -m safe_finetuning`."""

import sys

from .cli import main

sys.exit(main())

"""`python -m controllable_operator.plugin`."""

import sys

from controllable_operator.plugin import main

sys.exit(main())

"""How large a round may be. Checks, kernels, controllers and drafters all depend on these numbers."""

MAX_DRAFT = 15  # a verify pass then has at most 16 rows: one tile, and covered by the row-invariance check
MAX_ROWS = MAX_DRAFT + 1  # the pending token and every draft

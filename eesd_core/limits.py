"""How large a round may be. Checks, kernels, controllers and drafters all build on these numbers."""

MAX_DRAFT = 15  # a verify pass then has 16 rows at most: one tile, and inside what the row-invariance check covers
MAX_ROWS = MAX_DRAFT + 1  # the pending token and every draft

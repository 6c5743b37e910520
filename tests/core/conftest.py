"""Tiny products gain nothing from a second thread, and beside a busy process two threads wait for each other."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

"""Runs of other programs as traces: from responses of vLLM and llama.cpp, and a logger for any decode loop.

What such a run does not report (draft tokens, probabilities, draws, often times) is absent from its trace, never made up.
"""

from .log import Log

__all__ = ["Log"]

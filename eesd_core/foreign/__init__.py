"""Runs of other programs as traces: what vLLM and llama.cpp say of a request, and a logger for anybody's own decode loop.

What such a run does not say (drafts' words, probabilities, draws, often times) is absent from its trace, never made up.
"""

from .log import Log

__all__ = ["Log"]

"""The endpoints as MCP tools: listed with what their docstrings say, and callable."""

import ast
import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_engine import FakeEngine

from app.form_values import Limits
from app.page import launch
from app.runs import Visits
from eesd_core.racing import race

if not os.environ.get("EESD_FORBID_SKIPS"):
    pytest.importorskip("mcp", reason="needs mcp: pip install -r hosting/requirements-mcp.txt")


@pytest.fixture(scope="module")
def address():
    page = launch(Visits(FakeEngine(), Limits(), race), prevent_thread_lock=True, quiet=True, mcp_server=True)
    yield f"{page.local_url}gradio_api/mcp/"
    page.close()


def in_a_session(address: str, talk):
    """`talk(session)`, in a loop of its own."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def meet():
        async with streamable_http_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await talk(session)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, meet()).result()


def test_tools_say_what_they_do_and_take(address):
    tools = {tool.name: tool for tool in in_a_session(address, lambda session: session.list_tools()).tools}
    assert set(tools) == {"race", "generate", "replay"}
    assert "compare texts and clocks" in tools["race"].description
    taken = tools["race"].inputSchema["properties"]
    assert "same seed gives the same text" in taken["seed"]["description"] and "request" not in taken
    assert set(taken["quantize"]["enum"]) == {"host", "none", "q8", "q4", "8bit", "4bit"}


def test_a_tool_can_be_called(address):
    answer = in_a_session(address, lambda session: session.call_tool("generate", {"prompt": "Once"}))
    assert not answer.isError
    result = ast.literal_eval(answer.content[0].text)
    assert result["status"] == "finished" and result["text"] == " 0 1 2 3 4"


def test_what_it_refuses_is_one_line(address):
    answer = in_a_session(address, lambda session: session.call_tool("race", {"prompt": ""}))
    assert answer.isError and "the prompt is empty" in answer.content[0].text and "Traceback" not in answer.content[0].text

"""Every element of the page is found by its own id: a setting is called like no button."""

from app.page import build_page
from app.runs import Visits


def test_no_two_elements_have_one_id(engine):
    ids = [block.elem_id for block in build_page(Visits(engine)).blocks.values() if block.elem_id]
    assert len(ids) > 20 and sorted(ids) == sorted(set(ids))

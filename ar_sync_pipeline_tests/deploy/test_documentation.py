"""The pages for operators: links lead somewhere, quoted sentences exist, no check is forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ar_sync_pipeline.operations.check_specs import page_of
from ar_sync_pipeline.package_files import runbook_page, runbook_text
from ar_sync_pipeline_tests.fix_dagster import Deployment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNBOOK = sorted((ROOT / "docs" / "runbook").glob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
LEFT_OUT = "…"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).resolve().exists()] == []


def test_runbook_begins_with_a_list_of_all_of_its_pages() -> None:
    linked = set(LINK.findall((ROOT / "docs/runbook/README.md").read_text()))
    assert {page.name for page in RUNBOOK} - {"README.md"} <= linked


@pytest.mark.parametrize("page", RUNBOOK[1:], ids=name)
def test_every_page_ends_with_how_to_see_that_it_is_fixed(page: Path) -> None:
    assert "\n## Fixed when\n" in page.read_text()


@pytest.mark.parametrize("page", [*RUNBOOK, ROOT / "docs/upgrade.md"], ids=name)
def test_quoted_sentences_are_what_the_product_says(page: Path) -> None:
    quoted = re.findall(r"^> (.+)$", page.read_text(), re.MULTILINE)
    assert [sentence for sentence in quoted if not is_said(sentence)] == []


def test_runbook_names_every_asset_check_and_what_it_is_on(deployment: Deployment) -> None:
    lines = (ROOT / "docs/runbook/README.md").read_text().splitlines()
    checks = {
        (key.name, key.asset_key.to_user_string())
        for definitions in (deployment.sender_definitions(), deployment.receiver_definitions())
        for key in definitions.resolve_asset_graph().asset_check_keys
    }
    assert len(checks) > 5
    assert {
        (check, asset)
        for check, asset in checks
        if not any(f"`{check}`" in line and f"`{asset}`" in line for line in lines)
    } == set()


def test_every_check_names_its_page_of_the_runbook(deployment: Deployment) -> None:
    lines = (ROOT / "docs/runbook/README.md").read_text().splitlines()
    for definitions in (deployment.sender_definitions(), deployment.receiver_definitions()):
        graph = definitions.resolve_asset_graph()
        for key in graph.asset_check_keys:
            spec = graph.get_check_spec(key)
            path = Path(runbook_page(page_of(spec)))
            assert path.is_file(), key
            assert (spec.description or "").endswith(f" Runbook: {path}"), key
            assert any(f"`{key.name}`" in line and path.name in line for line in lines), key


def test_every_check_links_to_its_published_page_if_there_is_one(deployment: Deployment) -> None:
    deployment.change_both({"AR_SYNC_DOCS_URL": "https://git.example.org/docs/"})
    for definitions in (deployment.sender_definitions(), deployment.receiver_definitions()):
        graph = definitions.resolve_asset_graph()
        for key in graph.asset_check_keys:
            spec = graph.get_check_spec(key)
            page = page_of(spec)
            assert (ROOT / "docs/runbook" / f"{page}.md").is_file(), key
            link = f" Runbook: [{page}](https://git.example.org/docs/runbook/{page}.md)"
            assert (spec.description or "").endswith(link), key


@pytest.mark.parametrize("page", RUNBOOK, ids=name)
def test_a_page_that_is_shown_elsewhere_has_no_link_that_leads_nowhere(page: Path) -> None:
    text = runbook_text(page.stem)
    assert len(text) > 200
    assert [link for link in LINK.findall(text) if not link.startswith("https:")] == []


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)((?:::\w+)+)`", (ROOT / "docs/security.md").read_text())
    assert len(named) > 30
    missing = [
        path + names
        for path, names in named
        for word in names.split("::")[1:]
        if not re.search(
            rf"^ *(def|class) {word}\b",
            (ROOT / "ar_sync_pipeline_tests" / path).read_text(),
            re.MULTILINE,
        )
    ]
    assert missing == []


def is_said(sentence: str) -> bool:
    """Whether some text of the code holds the words between the dots, in this order."""
    words = [re.escape(part.strip()) for part in sentence.split(LEFT_OUT) if part.strip(" .()")]
    wanted = re.compile(".*".join(words))
    return any(wanted.search(text) for text in sentences())


@cache
def sentences() -> tuple[str, ...]:
    """Every text in the product's code, values in it left out."""
    return tuple(
        text
        for path in sorted((ROOT / "ar_sync_pipeline").rglob("*.py"))
        for text in texts(ast.parse(path.read_text()))
    )


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else LEFT_OUT
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value

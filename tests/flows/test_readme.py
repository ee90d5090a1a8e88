"""The README's generated parts are those of the committed results."""

from tests.benchmarks import readme


def test_readme_is_current() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run: python -m tests.benchmarks.readme"

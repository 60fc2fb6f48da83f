#!/usr/bin/env python3
"""A preprocessor of mdBook: makes the links of pages that are written as plain Markdown work in the book.

Pages link to `../keyexprs.md`, which lies outside of docs/. In the book it is the page `keys.md`, which includes it;
the links of the included text begin in the root of the repository. And mdBook writes a `README.md` as `index.html`.
"""

import json
import re
import sys

PAGE = "keys.md"
CONTRACT = re.compile(r"\]\((?:\.\./)+keyexprs\.md(#[^)]*)?\)")
FROM_ROOT = re.compile(r"\]\(docs/")
README = re.compile(r"\]\(([^):]*/)?README\.md")


def rewrite(chapter):
    path = chapter.get("path") or ""
    if path == PAGE:
        chapter["content"] = FROM_ROOT.sub("](", chapter["content"])
    to_docs = "../" * path.count("/")
    content = CONTRACT.sub(lambda link: f"]({to_docs}{PAGE}{link[1] or ''})", chapter["content"])
    chapter["content"] = README.sub(lambda link: f"]({link[1] or ''}index.md", content)
    rewrite_all(chapter["sub_items"])


def rewrite_all(items):
    for item in items:
        # The others are separators and titles of parts.
        if isinstance(item, dict) and "Chapter" in item:
            rewrite(item["Chapter"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    # "sections" before mdBook 0.5.
    rewrite_all(book.get("items") or book.get("sections") or [])
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()

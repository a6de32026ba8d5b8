"""The HTML page on paper: PDF/A-3 with the master JSON attached, so that one file is enough to check the statement."""

from greenserve.carbon.formats import html, json
from greenserve.errors import DependencyMissing
from greenserve.records import Statement


def render(statement: Statement) -> bytes:
    """The page as PDF; needs the extra `pdf` and the system library Pango."""
    try:
        import weasyprint
    except ImportError:
        raise DependencyMissing(
            "the format pdf needs WeasyPrint: install greenserve with the extra `pdf`, or print the html"
        ) from None
    except OSError as error:
        raise DependencyMissing(
            f"the format pdf needs the system library Pango ({error}): install it (Debian: libpango-1.0-0 and "
            "libpangoft2-1.0-0), or print the html"
        ) from None
    page = weasyprint.HTML(string=html.render(statement).decode(), url_fetcher=_nothing)
    master = weasyprint.Attachment(
        string=json.render(statement).decode(),
        name=f"{statement.statement_id}.json",
        description="The statement itself: canonical JSON, of which this document is a view",
        relationship="Source",
    )
    return bytes(page.write_pdf(pdf_variant="pdf/a-3b", attachments=[master]))


def _nothing(url: str, *_: object, **__: object) -> dict[str, object]:
    raise ValueError(f"a statement loads nothing from elsewhere, it asked for {url}")

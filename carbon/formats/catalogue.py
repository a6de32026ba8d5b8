"""All formats of a statement: for the command, and the light ones for the administration API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from greenserve.carbon.formats import boamps, csv, focus, html, json, parquet, pdf
from greenserve.errors import InvalidRequest
from greenserve.records import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a statement becomes a file: the end of its name, its media type; `light` needs no extra and little time."""

    name: str
    suffix: str
    media_type: str
    render: Callable[[Statement], bytes]
    light: bool = True


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        one.name: one
        for one in (
            Format(name="json", suffix="json", media_type="application/json", render=json.render),
            Format(name="html", suffix="html", media_type="text/html; charset=utf-8", render=html.render),
            Format(name="csv", suffix="csv", media_type="text/csv; charset=utf-8", render=csv.render),
            Format(name="focus", suffix="focus.csv", media_type="text/csv; charset=utf-8", render=focus.render),
            Format(name="boamps", suffix="boamps.json", media_type="application/json", render=boamps.render),
            Format(
                name="parquet",
                suffix="parquet",
                media_type="application/vnd.apache.parquet",
                render=parquet.render,
                light=False,
            ),
            Format(name="pdf", suffix="pdf", media_type="application/pdf", render=pdf.render, light=False),
        )
    }
)


def chosen(text: str) -> list[Format]:
    """`json,pdf` as formats, each once; InvalidRequest names those that there are."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        given = unknown[0] if unknown else text
        raise InvalidRequest(f"--format {given!r}: there are {', '.join(FORMATS)}; several with commas between")
    return [FORMATS[name] for name in names]

"""Which handler a path has: templates such as `/v2/models/{model}/infer`, literal segments before named ones."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

Found = tuple[str, Mapping[str, str]]
REMEMBERED = 512


class Routes:
    """Finds the template that a path fits, and what stands at its names."""

    def __init__(self, templates: Iterable[str]) -> None:
        split = [(template, tuple(template.strip("/").split("/"))) for template in templates]
        split.sort(key=lambda each: sum(_is_name(segment) for segment in each[1]))
        by_length: dict[int, list[tuple[str, tuple[str, ...]]]] = {}
        for template, segments in split:
            by_length.setdefault(len(segments), []).append((template, segments))
        self._by_length = MappingProxyType(by_length)
        self.find = lru_cache(maxsize=REMEMBERED)(self._find)

    def _find(self, path: str) -> Found | None:
        """The template of a path, with or without a slash at its end, and its arguments by name."""
        parts = path.removesuffix("/").removeprefix("/").split("/")
        for template, segments in self._by_length.get(len(parts), ()):
            if all(
                part == segment or (part and _is_name(segment)) for part, segment in zip(parts, segments, strict=True)
            ):
                given = zip(segments, parts, strict=True)
                return template, MappingProxyType({name[1:-1]: part for name, part in given if _is_name(name)})
        return None


def _is_name(segment: str) -> bool:
    return segment.startswith("{")

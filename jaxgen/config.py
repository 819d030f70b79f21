"""Configurations: frozen typed dataclasses, overrides, JSON, and identity.

Every choice that changes the science is a field of a `Config`. Values are checked (and integers
widened to floats) when a config is made, so a config that exists is valid. Imports no jax.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

from jaxgen.errors import UserError, nearest, shown, suggestion


class UnknownKind(UserError):
    """Saved settings name an unknown kind of config; it may belong to a paper that is missing: `slug`, if its name
    says so."""

    def __init__(self, message: str, slug: str | None = None):
        super().__init__(message)
        self.slug = slug


# Limits of the device's types: steps, seeds, rows and sizes are int32 there, and numbers float32.
INT32 = 2**31 - 1
FLOAT32 = float(2**128 - 2**104)
FLOAT32_SMALLEST = 2.0**-126  # smaller numbers lose digits, or become zero


@dataclasses.dataclass(frozen=True)
class Range:
    """The values a number may take. `None` leaves a side open, except that a whole number must fit into int32."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, path: str, value: float) -> None:
        bounds = [
            (self.at_least, "at least", lambda bound: value >= bound),
            (self.at_most, "at most", lambda bound: value <= bound),
            (self.above, "above", lambda bound: value > bound),
            (self.below, "below", lambda bound: value < bound),
        ]
        if self.at_most is None and self.below is None and isinstance(value, int) and value > INT32:
            bounds.append((INT32, "at most", lambda bound: value <= bound))
        stated = [(bound, word, holds) for bound, word, holds in bounds if bound is not None]
        if not all(holds(bound) for bound, _, holds in stated):
            told = [f"{word} {bound if isinstance(bound, int) else f'{bound:g}'}" for bound, word, _ in stated]
            raise UserError(f"{path}: got {shown(value)}, expected a number {' and '.join(told)}")


class PerMember:
    """Marks a number that may differ between the members of one population.

    Such a number is an input of the compiled program; every other field is built into it.
    """


PositiveInt = Annotated[int, Range(at_least=1)]
NonNegativeInt = Annotated[int, Range(at_least=0)]
# Numbers of tokens, positions and other things. The limit lets a config compute sizes before anything is allocated.
MOST = 10**5
Size = Annotated[int, Range(at_least=1, at_most=MOST)]
HostSeed = Annotated[int, Range(at_least=0, at_most=2**63 - 1)]  # the seed of draws that only the host makes
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Fraction = Annotated[float, Range(at_least=0, at_most=1)]
Rate = Annotated[float, Range(at_least=0, below=1)]


# The package names under which discovery imports papers: those of the wheel, and those of a user's folders.
_PAPER_MODULE = re.compile(r"jaxgen(\.experiments\.|_experiments_)([A-Za-z0-9_]+)")

# In the place of a paper's slug: what is defined in a notebook's cell or a script, and what is trained without a paper.
NOTEBOOK = "notebook"


def of_paper(module: str) -> str | None:
    """Returns the slug of the paper that a module belongs to; None: it is the engine's, or another package's."""
    paper = _PAPER_MODULE.match(module)
    if paper:
        return paper[2].replace("_", "-")
    return NOTEBOOK if module == "__main__" else None


_field_types: dict[type, dict[str, Any]] = {}


def field_types(cls: Any) -> dict[str, Any]:
    """Returns the resolved annotation of every field of a config class."""
    if cls not in _field_types:
        hints = typing.get_type_hints(cls, include_extras=True)
        types = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
        marked = [name for name, hint in types.items() if PerMember in typing.get_args(hint)]
        if marked and not cls.takes_scalars:
            raise TypeError(f"{cls.__name__}.{marked[0]}: nothing gives a {cls.__name__} numbers marked PerMember")
        _field_types[cls] = types
    return _field_types[cls]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration. Subclasses are frozen keyword-only dataclasses.

    A field's annotation is enforced: `int`, `float`, `bool`, `str`, `Literal`, `tuple[X, ...]`,
    another config, a union of these, `Annotated[number, Range(...)]`. `class Base(Config, family=True)` is an abstract
    base of several kinds, and not a kind itself.
    """

    kinds: ClassVar[dict[str, type[Config]]] = {}
    is_family: ClassVar[bool] = True
    # Its name in saved settings: the class name, with the prefix `slug/` if a paper's folder defines it, or #
    # `notebook/` if a cell or script does. A part that has moved keeps its old name: `saved_as: ClassVar[str] = "..."`.
    saved_as: ClassVar[str]
    # The slug of the paper that defines it, or `notebook`; None: the engine.
    of_paper: ClassVar[str | None] = None
    # Whether it receives fields marked `PerMember`, with each member's own value.
    takes_scalars: ClassVar[bool] = False
    # A kind without fields may be written as this one word.
    word: ClassVar[str | None] = None
    # The largest values of fields at smoke size; of a tuple, the largest value of each entry.
    smoke_sizes: ClassVar[Mapping[str, int]] = {}

    def __init_subclass__(cls, family: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.is_family = family
        paper = _PAPER_MODULE.match(cls.__module__)
        cls.of_paper = of_paper(cls.__module__)
        own = f"{cls.of_paper}/{cls.__name__}" if cls.of_paper else cls.__name__
        cls.saved_as = cls.__dict__.get("saved_as", own)
        # A paper of the wheel may keep old names of the engine. A user's copy of the paper would claim them too.
        if paper and paper[1] == "_experiments_" and "/" not in cls.saved_as:
            raise TypeError(
                f"{cls.__name__}.saved_as: got '{cls.saved_as}', expected 'slug/{cls.__name__}' of the paper that it "
                "moved from; names without a slug are jaxgen's own: leave it out"
            )
        there = Config.kinds.get(cls.saved_as)
        # Importing a paper again defines its classes again, and a dataclass with slots is created twice.
        if there is not None and (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"there is a config named {cls.saved_as} already, in {there.__module__}; a saved run could not tell "
                "them apart"
            )
        Config.kinds[cls.saved_as] = cls

    def __post_init__(self) -> None:
        if self.is_family:
            raise UserError(f"{type(self).__name__}: expected one of its kinds, {_choices(type(self))}")
        for name, hint in field_types(type(self)).items():
            object.__setattr__(self, name, coerce(getattr(self, name), hint, name))
        self.validate()

    def validate(self) -> None:
        """Raises `UserError` if fields contradict each other."""

    def check(self, condition: Any) -> None:
        """Raises `UserError` if this part cannot work within `condition`, or would have no effect."""

    def smoke(self) -> Self:
        """Returns the config, with all nested ones, at sizes that train a few steps in seconds (`smoke_sizes`)."""
        return dataclasses.replace(self, **self._smoke_changes())

    def _smoke_changes(self) -> dict[str, Any]:
        fields = (field.name for field in dataclasses.fields(self))
        return {name: _at_most(getattr(self, name), self.smoke_sizes.get(name)) for name in fields}


def _at_most(value: Any, most: int | None) -> Any:
    if isinstance(value, Config):
        return value.smoke()
    if isinstance(value, tuple):
        return tuple(_at_most(each, most) for each in value)
    return min(value, most) if most is not None and isinstance(value, int) else value


ConfigT = TypeVar("ConfigT", bound=Config)
ValueT = TypeVar("ValueT")


def added(default: ValueT) -> ValueT:
    """Declares a field that was added to a kind after runs with it were trained: `depth: PositiveInt = added(1)`.

    `default` must be the behaviour of all earlier runs, and must never change. A field with this value is left out of
    identities and saved settings, so both stay as they were without the field.
    """
    field: Any = dataclasses.field(default=default, metadata={"added": True})
    return cast(ValueT, field)


def coerce(value: Any, hint: Any, path: str) -> Any:
    """Returns `value` as the type `hint`, or raises `UserError` naming `path`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *marks = typing.get_args(hint)
        value = coerce(value, base, path)
        for mark in marks:
            if isinstance(mark, Range):
                mark.check(path, value)
            if mark is PerMember and 0 < abs(value) < FLOAT32_SMALLEST:
                raise UserError(f"{path}: got {value}, expected 0 or at least {FLOAT32_SMALLEST:.3g} (float32)")
        return value
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            hint_text = suggestion(value, map(str, choices)) if isinstance(value, str) else ""
            raise UserError(f"{path}: got {shown(value)}, expected one of {list(choices)}{hint_text}")
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, typing.get_args(hint), path)
    if origin is tuple:
        (item, _) = typing.get_args(hint)
        if not isinstance(value, (tuple, list)):
            raise UserError(f"{path}: got {shown(value)}, expected a list; of one write [{shown(value)}]")
        return tuple(coerce(each, item, f"{path}[{i}]") for i, each in enumerate(value))
    if hint is float and type(value) in (int, float):
        if not abs(value) <= FLOAT32:
            raise UserError(f"{path}: got {shown(value)}, expected a finite number, at most {FLOAT32:.3g} (float32)")
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    exact = (bool, int, float, str)
    if (type(value) is hint) if hint in exact else isinstance(value, hint):
        return value
    if isinstance(value, str) and isinstance(hint, type) and issubclass(hint, Config):
        return _config_of_word(value, hint, path)
    if isinstance(value, type):
        raise UserError(f"{path}: got the class {value.__name__}, expected {_named(hint)}; write {value.__name__}(...)")
    raise UserError(f"{path}: got {shown(value)} ({type(value).__name__}), expected {_named(hint)}")


def _kinds_of(family: type[Config]) -> dict[str, type[Config]]:
    """Returns the kinds of a family, by their saved names."""
    return {name: cls for name, cls in Config.kinds.items() if issubclass(cls, family) and not cls.is_family}


def _choices(family: type[Config]) -> str:
    """Lists the kinds of a family for a message: only the engine's own, because papers have too many."""
    kinds = _kinds_of(family)
    engine = [cls.word or name for name, cls in kinds.items() if cls.of_paper is None]
    return ", ".join(sorted(engine or kinds)) or "which papers bring"


def _config_of_word(word: str, family: type[Config], path: str) -> Config:
    """Returns the config that `word` names: the word of a kind without fields, or the name of a kind that needs
    none."""
    kinds = _kinds_of(family)
    for name, cls in kinds.items():
        if word in (name, cls.word):
            missing = sorted(_needed(cls))
            if missing:
                example = ", ".join([f'"kind": "{name}"', *(f'"{each}": ...' for each in missing)])
                raise UserError(f"{path}: got {shown(word)}, which needs {', '.join(missing)}; expected {{{example}}}")
            return cls()
    words = [cls.word or name for name, cls in kinds.items()]
    raise UserError(f"{path}: got {shown(word)}, expected {_named(family)}{suggestion(word, [*words, *kinds])}")


def _named(hint: Any) -> str:
    """Describes the values of a type for a message."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _named(_bare(hint))
    if origin is Literal:
        return " or ".join(repr(each) for each in typing.get_args(hint))
    if origin is tuple:
        return f"a list of {_named(typing.get_args(hint)[0])}"
    if hint is types.NoneType:
        return "nothing"
    if isinstance(hint, type) and issubclass(hint, Config) and hint.is_family:
        return f"one of {_choices(hint)}"
    return str(hint.__name__)


def _coerce_union(value: Any, members: tuple[Any, ...], path: str) -> Any:
    problems: dict[Any, UserError] = {}
    for member in sorted(members, key=lambda each: each is not types.NoneType):
        try:
            return coerce(value, member, path)
        except UserError as error:
            problems[member] = error
    # The error is that of the intended alternative, if one is clear; otherwise it lists the alternatives.
    wanted = [member for member in problems if member is not types.NoneType]
    meant = [each for each in wanted if _bare(each) is type(value)]
    if len(wanted) > 1 and not meant:
        raise UserError(f"{path}: got {shown(value)}, expected {' or '.join(map(_named, members))}")
    raise problems[(meant or wanted)[0]]


def _bare(hint: Any) -> Any:
    """Returns a type without its annotations."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def to_json(value: Any, *, complete: bool = False) -> Any:
    """Returns plain JSON data; each config becomes an object that names its kind.

    Args:
      value: configs, and lists and mappings of them.
      complete: whether to include `added` fields that have their default.
    """
    if isinstance(value, Config):
        return value.word or without(value, complete=complete)
    if isinstance(value, (tuple, list)):
        return [to_json(each, complete=complete) for each in value]
    if isinstance(value, Mapping):
        return {key: to_json(each, complete=complete) for key, each in value.items()}
    return value


def _is_as_before(config: Config, field: dataclasses.Field[Any]) -> bool:
    return "added" in field.metadata and bool(getattr(config, field.name) == field.default)


def from_json(data: Any) -> Any:
    """Returns the config that `to_json` wrote. It builds only known kinds, and runs no code.

    Raises:
      UserError: the kind is unknown, a field is missing or unknown, or the data are nested too deeply.
    """
    try:
        return _from_json(data)
    except RecursionError:
        raise UserError(f"got {shown(data)}, expected no brackets within brackets a hundred times over") from None


def _from_json(data: Any) -> Any:
    if isinstance(data, dict):
        if "kind" not in data:
            return {key: _from_json(each) for key, each in data.items()}
        kind = data["kind"]
        if not isinstance(kind, str) or kind not in Config.kinds:
            if isinstance(kind, str) and "/" in kind:
                slug = kind.partition("/")[0]
                where = (
                    "a notebook or script defined it; define it again (run that cell), and read the run anew"
                    if slug == NOTEBOOK
                    else f"the paper '{slug}' is not there, or lacks it"
                )
                raise UnknownKind(f"unknown kind of config {shown(kind)}: {where}", slug)
            if not isinstance(kind, str):
                raise UnknownKind(f"unknown kind of config {shown(kind)}, expected its name")
            raise UnknownKind(
                f"unknown kind of config {shown(kind)}: neither jaxgen nor a paper that was imported has it"
                f"{suggestion(kind, Config.kinds)}"
            )
        cls = Config.kinds[kind]
        fields = {key: _from_json(each) for key, each in data.items() if key != "kind"}
        unknown = set(fields) - set(field_types(cls))
        if unknown:
            name = sorted(unknown)[0]
            raise UserError(f"{kind} has no field '{name}'{nearest(name, field_types(cls))}")
        if missing := _needed(cls) - fields.keys():
            raise UserError(f"{kind} lacks {sorted(missing)}")
        return cls(**fields)
    if isinstance(data, list):
        return tuple(_from_json(each) for each in data)
    return data


def _needed(cls: type[Config]) -> set[str]:
    return {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}


def nested(config: Config) -> Iterator[Config]:
    """Yields the configs inside a config, at any depth."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Config):
                yield each
                yield from nested(each)


def digest(data: Any) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(to_json(data), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_value(text: str) -> Any:
    """Reads a command-line value: as JSON if it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:  # not JSON, or a number with more digits than Python reads
        return text
    except RecursionError:
        raise UserError(f"got {shown(text)}, expected no brackets within brackets a hundred times over") from None


def parse_setting(setting: str, form: str, scope: str = "") -> tuple[str, Any]:
    """Splits a command line's `KEY=VALUE`, whose key begins with `scope`. A `UserError` names the expected `form`."""
    key, equals, text = setting.removeprefix(scope).partition("=")
    if not equals or not key:
        raise UserError(f"--set: got '{setting}', expected {form}")
    return scope + key.strip(), parse_value(text.strip())


def override(config: ConfigT, changes: Mapping[str, Any]) -> ConfigT:
    """Returns `config` with dotted keys (such as `model.width`) set, all at once.

    Raises:
      UserError: a key is unknown (the message names the nearest), or a value has a wrong type or is out of range.
    """
    return _override(config, changes, "")


def _override(config: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    hints = field_types(type(config))
    whole: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        name, dot, rest = key.partition(".")
        if name not in hints:
            kind = type(config).__name__
            raise UserError(f"no setting '{prefix}{key}': {kind} has no '{name}'{nearest(name, hints)}")
        if dot:
            parts.setdefault(name, {})[rest] = value
        else:
            whole[name] = coerce(from_json(value), hints[name], f"{prefix}{key}")
    for name, inner_changes in parts.items():
        inner = whole.get(name, getattr(config, name))
        if not isinstance(inner, Config):
            raise UserError(
                f"no setting '{prefix}{name}.{next(iter(inner_changes))}': '{name}' is {inner!r}, without parts"
            )
        whole[name] = _override(inner, inner_changes, f"{prefix}{name}.")
    return dataclasses.replace(config, **whole)


def per_member_values(config: Config, prefix: str = "") -> dict[str, float]:
    """Returns the values of fields marked `PerMember`, by dotted path."""
    values: dict[str, float] = {}
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        if isinstance(value, Config):
            values |= per_member_values(value, f"{prefix}{name}.")
        elif typing.get_origin(hint) is Annotated and PerMember in typing.get_args(hint):
            values[f"{prefix}{name}"] = value
    return values


def values_of(part: str, values: Mapping[str, ValueT]) -> dict[str, ValueT]:
    """Selects the values of one part from values by dotted path, and keys them by their paths within the part."""
    prefix = f"{part}."
    return {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}


def without(config: Config, *names: str, complete: bool = False) -> dict[str, Any]:
    """Returns the JSON of a config without the fields `names`; `complete` as in `to_json`."""
    shown = [f.name for f in dataclasses.fields(config) if complete or not _is_as_before(config, f)]
    fields = {name: to_json(getattr(config, name), complete=complete) for name in shown if name not in names}
    return {"kind": config.saved_as, **fields}

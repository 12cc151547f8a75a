"""What there is in the project: files, names in the code, commands, targets and settings."""

import ast
import re
import shlex
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import typer

from backend.commands.main import app
from backend.web.settings import Settings
from workers.settings import WorkerSettings, variables

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INSTALLED = ("backend", "workers", "dgl_rsis", "starter")
# Files whose words count as names of the project, beside the code.
CONFIGURATION = (
    "Makefile", "Dockerfile", "docker-compose.yml", "docker-compose.studio.yml", ".env.example",
    "pyproject.toml",
)  # fmt: skip
VARIABLE = re.compile(r"^[\s#]*(?:- |ENV |ARG |export )?([A-Z][A-Z0-9_]*)(?: \?)?(?:=|: )", re.M)
INCOMPLETE = ("MissingParameter", "BadOptionUsage")  # a mention, not a call: `tile --root`


@dataclass(frozen=True)
class Module:
    """The names that a source file defines.

    Attributes:
        names: of functions, classes and variables of the module.
        members: class → its methods and attributes.
    """

    names: frozenset[str]
    members: Mapping[str, frozenset[str]]


class Project:
    """What documents may name.

    Args:
        root: the folder of the project.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        tracked = self._listed("--cached")
        self.files = tracked | self._listed("--others", "--exclude-standard")
        self.folders = frozenset(
            str(parent) for name in self.files for parent in PurePosixPath(name).parents
        )
        # What a command wrote into the checkout is none of the project's.
        self.top = frozenset(name.split("/")[0] for name in tracked)

    def _listed(self, *which: str) -> frozenset[str]:
        """Files as git lists them, but for those that were deleted."""
        command = ["git", "ls-files", *which]
        done = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True)
        return frozenset(name for name in done.stdout.splitlines() if (self.root / name).is_file())

    # ---- files

    def has_path(self, path: str) -> bool:
        """Whether files or folders fit a path, or its end; `*` and `{a,b}` as in a shell."""
        return all(any(_fits(name, each) for name in self._places) for each in braces(path))

    @cached_property
    def _places(self) -> Collection[str]:
        return self.files | self.folders

    # ---- names in the code

    @cached_property
    def _trees(self) -> Mapping[str, ast.Module]:
        return {
            name: ast.parse((self.root / name).read_text("utf-8"))
            for name in sorted(self.files)
            if name.endswith(".py") and not name.startswith("tests/")
        }

    @cached_property
    def modules(self) -> Mapping[str, Module]:
        """Path of each source file → what it defines."""
        return {name: _module(tree) for name, tree in self._trees.items()}

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the installed code but of its docstrings and comments, and of configuration."""
        installed = (t for n, t in self._trees.items() if n.split("/")[0] in INSTALLED)
        words = {word for tree in installed for word in _words(tree)}
        for name in CONFIGURATION:
            words.update(WORD.findall((self.root / name).read_text("utf-8")))
        return frozenset(words)

    def has_name(self, dotted: str) -> bool:
        """Whether a name exists: alone anywhere in the code, or inside what stands before the dot.

        What comes before a dot is a module, a class, a folder of modules or another package.
        """
        *owners, last = dotted.split(".")
        if not owners:
            return last in self.words
        return self._owned(owners, last) or self._is_foreign(owners[0])

    def _owned(self, owners: list[str], last: str) -> bool:
        place = "/".join([*owners, last])
        if self.has_path(place) or self.has_path(f"{place}.py"):
            return True
        files = [n for n in self.modules if _fits(n, "/".join(owners) + ".py")]
        if any(last in self.modules[name].names for name in files):
            return True
        return any(
            last in module.members.get(owners[-1], ())
            for name, module in self.modules.items()
            if len(owners) == 1 or _fits(name, "/".join(owners[:-1]) + ".py")
        )

    def _is_foreign(self, package: str) -> bool:
        """Whether it is another package: `types` is none, since the project has a `types.py`."""
        ours = package in self.top or any(_fits(name, f"{package}.py") for name in self.modules)
        return not ours and find_spec(package) is not None

    def defines(self, path: str, name: str) -> bool:
        """Whether a file that fits the path defines that name."""
        owner, _, member = name.rpartition(".")
        modules = [module for file, module in self.modules.items() if _fits(file, path)]
        if owner:
            return any(member in module.members.get(owner, ()) for module in modules)
        return any(member in module.names for module in modules)

    # ---- what one can run

    @cached_property
    def _program(self) -> Any:
        return typer.main.get_command(app)

    @cached_property
    def command_names(self) -> Collection[str]:
        """Commands of `dgl-rsis`."""
        return frozenset(self._program.list_commands(None))

    @cached_property
    def options(self) -> Collection[str]:
        """All options of all commands, and of the scripts under `python -m`."""
        options = {"--help", "--version"}
        for command in self._commands(self._program):
            for parameter in command.params:
                options.update([*parameter.opts, *parameter.secondary_opts])
        for tree in self._trees.values():
            options.update(_added_arguments(tree))
        return options

    def _commands(self, group: Any) -> Iterator[Any]:
        for name in group.list_commands(None):
            command = group.get_command(None, name)
            yield command
            if hasattr(command, "list_commands"):
                yield from self._commands(command)

    def refusal(self, words: list[str], *, whole: bool) -> str:
        """Why `dgl-rsis` would not take these words; empty where it would.

        Args:
            words: what follows `dgl-rsis`.
            whole: nothing may be missing, either.
        """
        command = self._program
        if words == ["--version"]:  # an option of the program itself, with no command
            return ""
        while hasattr(command, "list_commands") and words:
            name, *words = words
            if name == "--help":
                return ""
            if name not in command.list_commands(None):
                return f"no command {name}"
            command = command.get_command(None, name)
        if hasattr(command, "list_commands") or "--help" in words:
            return ""  # named without a command of the group
        try:
            command.make_context("dgl-rsis", list(words))
        except Exception as error:  # typer's own, of which some have no public name
            if whole or type(error).__name__ not in INCOMPLETE:
                return " ".join(str(error).split()) or type(error).__name__
        return ""

    def has_module(self, dotted: str) -> bool:
        """Whether `python -m` finds it: a file, or a package that can be run."""
        if dotted.split(".")[0] not in self.top:
            return find_spec(dotted.split(".")[0]) is not None
        path = dotted.replace(".", "/")
        return f"{path}.py" in self.files or f"{path}/__main__.py" in self.files

    def module_options(self, dotted: str) -> Collection[str]:
        """Options that a script of the project declares."""
        path = dotted.replace(".", "/")
        name = f"{path}.py" if f"{path}.py" in self.files else f"{path}/__main__.py"
        tree = ast.parse((self.root / name).read_text("utf-8"))  # of tests, too
        return {"--help", *_added_arguments(tree)}

    @cached_property
    def targets(self) -> Collection[str]:
        """Targets of the Makefile."""
        return frozenset(re.findall(r"^([a-z0-9-]+):", self._makefile, re.M))

    @cached_property
    def make_variables(self) -> Collection[str]:
        """Variables that the Makefile takes from whoever calls it."""
        return frozenset(re.findall(r"^([A-Z_]+) \?=", self._makefile, re.M))

    @cached_property
    def _makefile(self) -> str:
        return (self.root / "Makefile").read_text("utf-8")

    # ---- settings

    @cached_property
    def settings(self) -> frozenset[str]:
        """Variables that processes of the project read."""
        named = variables(Settings) | variables(WorkerSettings)
        return frozenset(self.defaults) | named | self._read_elsewhere

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """Variable of each setting → what it is when nobody sets it."""
        fields = {**Settings.model_fields, **WorkerSettings.model_fields}
        return {
            name.upper(): field.get_default(call_default_factory=True)
            for name, field in fields.items()
        }

    @cached_property
    def _read_elsewhere(self) -> frozenset[str]:
        """What the product reads from the environment beside its settings."""
        return frozenset(
            name
            for path, tree in self._trees.items()
            if path.split("/")[0] in INSTALLED
            for name in _environment(tree)
        )

    @cached_property
    def variables(self) -> frozenset[str]:
        """What one can give a value: settings, and what the files of configuration give one."""
        texts = ((self.root / name).read_text("utf-8") for name in CONFIGURATION)
        return self.settings | {name for text in texts for name in VARIABLE.findall(text)}


def words_of(command: str) -> list[str]:
    """A line of shell as its words; what cannot be split counts as words between blanks."""
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _fits(name: str, pattern: str) -> bool:
    """Whether a path is the pattern, or ends with it."""
    pattern = pattern.rstrip("/")
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")


def braces(path: str) -> list[str]:
    """`a/{b,c}` → `a/b`, `a/c`."""
    match = re.search(r"\{([^{}]*)\}", path)
    if match is None:
        return [path]
    start, end = path[: match.start()], path[match.end() :]
    return [each for part in match[1].split(",") for each in braces(start + part.strip() + end)]


def _module(tree: ast.Module) -> Module:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return Module(
        frozenset(name for node in tree.body for name in _defined(node)),
        {node.name: frozenset(_members(node)) for node in classes},
    )


def _members(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        yield from _defined(statement)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            yield inner.attr


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def _words(tree: ast.Module) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield from WORD.findall(text)


def _calls(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute == name:
                yield node


def _added_arguments(tree: ast.Module) -> Iterator[str]:
    for call in _calls(tree, "add_argument"):
        for argument in call.args:
            if isinstance(argument, ast.Constant) and str(argument.value).startswith("--"):
                yield str(argument.value)


def _environment(tree: ast.Module) -> Iterator[str]:
    """Names that are read by `os.environ.get("NAME")`."""
    for call in _calls(tree, "get"):
        match call:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ")),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name

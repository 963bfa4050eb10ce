"""The house keeps its rules: who may import whom, what the core may not touch, how long things may grow.

Read by `ast`, so that nothing is imported and a lazy import inside a function counts too. Every rule is also tried on a
planted violation: a rule that cannot fail keeps nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("adaptive", "models", "replay")

# Rows from the bottom. Modules in one tuple may import each other, two tuples of a row may not. The longest prefix
# counts.
ROWS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("adaptive.types", "adaptive.model_events", "adaptive.clock", "adaptive.version"),),
    (("adaptive.announcement", "adaptive.ewma", "adaptive.classify", "adaptive.config"),),
    (("adaptive.telemetry", "replay.trace", "replay.tracing", "replay.scenario", "replay.arrivals"),),
    (("models",),),
    (("adaptive.policy", "adaptive.stats"),),
    (
        (
            "adaptive.controller",
            "adaptive.balancer",
            "adaptive.admission",
            "adaptive.budget",
            "adaptive.exploring",
            "adaptive.fast",
            "adaptive.grading",
            "adaptive.lanes",
            "adaptive.picks",
            "adaptive.servers",
            "adaptive.silence",
            "replay.baselines",
        ),
    ),
    (("adaptive.gateway",), ("adaptive.envoy",), ("adaptive.admin",), ("replay",)),
    (
        (
            "adaptive.app",
            "adaptive.station",
            "adaptive.steered",
            "adaptive.cli",
            "adaptive.failure",
            "adaptive.arena",
            "adaptive.commands",
            "adaptive.demo",
            "adaptive.bench",
            "adaptive.player",
        ),
    ),
)
# Packages themselves: their __init__.py holds a docstring, so that importing one imports nothing.
EMPTY = frozenset(PACKAGES)

# The decision core: the same under the gateway, under Envoy and in the simulator, so it may not know time or I/O.
CORE = (
    "adaptive.announcement",
    "adaptive.types",
    "adaptive.model_events",
    "adaptive.ewma",
    "adaptive.classify",
    "adaptive.stats",
    "adaptive.balancer",
    "adaptive.admission",
    "adaptive.budget",
    "adaptive.exploring",
    "adaptive.fast",
    "adaptive.grading",
    "adaptive.lanes",
    "adaptive.picks",
    "adaptive.servers",
    "adaptive.silence",
    "adaptive.policy",
    "adaptive.controller",
    "adaptive.config",
    "adaptive.gateway.router",
    "adaptive.envoy.translate",
    "models",
    "replay.trace",
    "replay.tracing",
    "replay.importers",
    "replay.scenario",
    "replay.arrivals",
    "replay.library",
    "replay.simulator",
    "replay.policies",
    "replay.baselines",
    "replay.episodes",
    "replay.evaluation",
    "replay.player",
    "replay.swarm",
    "replay.sweep.measure",
    "replay.sweep.regret",
)
# The parts of those packages that do talk to the outside.
OUTSIDE_CORE = ("models.store", "models.prometheus")
BANNED_IN_CORE = frozenset({"asyncio", "multiprocessing", "selectors", "socket", "subprocess", "threading", "uvloop"})
CHANCE_OF_THE_MACHINE = frozenset({"secrets", "uuid"})
GLOBAL_NUMPY = re.compile(r"(np|numpy)\.random\.(?!(Generator|BitGenerator|PCG64|SeedSequence|default_rng)$)\w+")
CLOCK = "adaptive.clock"
CLOCKS = frozenset({"time"})
READS_OF_THE_CALENDAR = frozenset({"now", "utcnow", "today"})
UNSAFE = frozenset({"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "multiprocessing"})
# A worker starts in milliseconds and stays small: these cost up to 1.4 s and 180 MB to import.
TOO_HEAVY_FOR_A_WORKER = frozenset({"aiohttp", "numpy", "pandas", "pyarrow", "scipy", "sklearn"})
WORKER = "adaptive.gateway.worker"

MODULE_LINES = 400
FUNCTION_LINES = 70

Sources = Mapping[str, str]  # module name → source
PACKAGE = ".__init__"


def sources() -> dict[str, str]:
    """Every module of the three packages; a package's own file is named `<package>.__init__`."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def under(module: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module is one of these, or inside one of these."""
    return any(module == p or module.startswith(p + ".") for p in prefixes)


def place(module: str) -> tuple[int, int] | None:
    """The row and the group of a module, by the longest prefix; None where the table does not know it."""
    best: tuple[int, tuple[int, int]] | None = None
    for row, groups in enumerate(ROWS):
        for group, prefixes in enumerate(groups):
            for prefix in prefixes:
                if under(module, (prefix,)) and (best is None or len(prefix) > best[0]):
                    best = (len(prefix), (row, group))
    return best[1] if best else None


def imports(tree: ast.AST, module: str) -> Iterator[tuple[int, str, str | None]]:
    """Every import, wherever it stands: its line, the module, and the name taken from it (None for a plain import)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield node.lineno, base, alias.name


def resolve(base: str, name: str | None, known: Sources) -> str:
    """The module that an import really takes: `from adaptive import clock` takes adaptive.clock."""
    longer = f"{base}.{name}"
    if name and base in EMPTY:
        return longer
    return longer if name and (longer in known or longer + PACKAGE in known or place(longer) != place(base)) else base


def import_violations(known: Sources) -> list[str]:
    found = []
    for module, source in known.items():
        owner = module.removesuffix(PACKAGE)
        if owner in EMPTY:
            continue
        here = place(owner)
        if here is None:
            found.append(f"{module}: has no row. Give it one in ROWS here and in the README's map.")
            continue
        for line, base, name in imports(ast.parse(source), module):
            target = resolve(base, name, known)
            if target.split(".")[0] not in PACKAGES or target in EMPTY:
                continue
            there = place(target)
            if there is None:
                found.append(f"{module}:{line}: imports {target}, which has no row in ROWS.")
            elif there[0] > here[0]:
                found.append(
                    f"{module}:{line}: imports {target} from a row above its own. Decisions must not know the shell "
                    "that runs them, or they cannot be replayed; pass in what is needed as an argument."
                )
            elif there[0] == here[0] and there[1] != here[1]:
                found.append(
                    f"{module}:{line}: imports {target} across its row. Shells are alternatives: each must work "
                    "without the others; move what both need to a lower row."
                )
    return found


def clock_violations(known: Sources) -> list[str]:
    found = []
    why = "Only adaptive/clock.py reads a clock, so that everything else can be run at any time and at any speed."
    for module, source in known.items():
        if module == CLOCK:
            continue
        tree = ast.parse(source)
        for line, base, _ in imports(tree, module):
            if base in CLOCKS:
                found.append(f"{module}:{line}: imports {base}. {why}")
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in READS_OF_THE_CALENDAR
                and ast.unparse(node.func.value).split(".")[-1] in ("datetime", "date")
            ):
                found.append(f"{module}:{node.lineno}: calls {ast.unparse(node.func)}. {why}")
    return found


def chance_violations(module: str, tree: ast.AST) -> Iterator[str]:
    """Global or unseeded chance: the same seed must give the same bytes."""
    why = "A random.Random or a numpy Generator is an argument: the same seed must give the same decisions."
    for line, base, name in imports(tree, module):
        if base in CHANCE_OF_THE_MACHINE or (base == "os" and name == "urandom"):
            yield f"{module}:{line}: takes chance from the machine ({base}). {why}"
        if base == "random" and name not in (None, "Random"):
            yield f"{module}:{line}: takes random.{name}, which is global. {why}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith("random.") and text.count(".") == 1 and node.attr != "Random":
                yield f"{module}:{node.lineno}: uses {text}, which is global. {why}"
            if GLOBAL_NUMPY.fullmatch(text):
                yield f"{module}:{node.lineno}: uses {text}, which is global. {why}"
            if text == "os.urandom":
                yield f"{module}:{node.lineno}: uses os.urandom. {why}"
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            text = ast.unparse(node.func)
            if text in ("random.Random", "Random", "np.random.default_rng", "numpy.random.default_rng", "default_rng"):
                yield f"{module}:{node.lineno}: calls {text}() without a seed. {why}"


def core_violations(known: Sources) -> list[str]:
    found = []
    for module, source in known.items():
        if not under(module, CORE) or under(module, OUTSIDE_CORE):
            continue
        tree = ast.parse(source)
        for line, base, _ in imports(tree, module):
            if base.split(".")[0] in BANNED_IN_CORE:
                found.append(
                    f"{module}:{line}: the core imports {base}. It must run the same under the gateway, under Envoy "
                    "and in the simulator, so it does no I/O and starts no threads; the shell does."
                )
        found += chance_violations(module, tree)
    return found


def size_violations(known: Sources) -> list[str]:
    found = []
    for module, source in known.items():
        lines = source.count("\n")
        if lines > MODULE_LINES:
            found.append(f"{module}: {lines} lines, over {MODULE_LINES}. It holds two ideas: name the other one.")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    found.append(
                        f"{module}:{node.lineno}: {node.name} has {length} lines, over {FUNCTION_LINES}. A function "
                        "fits a screen: name its parts."
                    )
    return found


def form_violations(known: Sources) -> list[str]:
    found = []
    for module, source in known.items():
        body = ast.parse(source).body
        if not body or ast.get_docstring(ast.parse(source)) is None:
            found.append(f"{module}: has no docstring. Its first sentence says what the module is.")
        if module.endswith(PACKAGE):
            if len(body) > 1:
                found.append(f"{module}: holds more than a docstring. Importing a package must import nothing else.")
        elif not any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in body):
            found.append(f"{module}: lacks `from __future__ import annotations`: types must cost nothing at run time.")
    return found


def unsafe_violations(known: Sources) -> list[str]:
    found = []
    for module, source in known.items():
        tree = ast.parse(source)
        for line, base, _ in imports(tree, module):
            if base.split(".")[0] in UNSAFE:
                found.append(
                    f"{module}:{line}: imports {base}. Reading a pickle runs whatever it says; processes here share "
                    "plain bytes; use npz, JSON, Arrow or struct."
                )
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            at = f"{module}:{node.lineno}"
            on = {k.arg for k in node.keywords if not (isinstance(k.value, ast.Constant) and not k.value.value)}
            if "shell" in on or ast.unparse(node.func) in ("os.system", "os.popen"):
                found.append(f"{at}: runs a shell. Its input could become a command; pass a list.")
            if "allow_pickle" in on:
                found.append(f"{at}: allows pickles in arrays. Reading one runs whatever it says.")
    return found


def eager_imports(module: str, source: str, known: Sources) -> Iterator[tuple[int, str]]:
    """What importing this module imports: not what stands in functions or under TYPE_CHECKING."""
    pending: list[ast.AST] = list(ast.parse(source).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line, base, name in imports(node, module):
                yield line, resolve(base, name, known)
        pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]


def weight_violations(known: Sources) -> list[str]:
    """What a worker would import without using it, followed through every module that its own modules import."""
    found = []
    pending = [module for module in known if under(module, (WORKER,))]
    seen = set(pending)
    while pending:
        module = pending.pop()
        for line, target in eager_imports(module, known[module], known):
            if target.split(".")[0] in TOO_HEAVY_FOR_A_WORKER:
                found.append(
                    f"{module}:{line}: imports {target}, and every worker imports this module. That costs each of them "
                    "start-up time and memory; import it inside the function that the brain calls."
                )
            if target in known and target not in seen:
                seen.add(target)
                pending.append(target)
    return found


def map_violations(known: Sources) -> list[str]:
    """Modules that the docstring of their package does not name."""
    found = []
    for package, source in known.items():
        if not package.endswith(PACKAGE):
            continue
        told = set(re.findall(r"\w+", ast.get_docstring(ast.parse(source)) or ""))
        inside = package.removesuffix(PACKAGE) + "."
        names = {module.removeprefix(inside).split(".")[0] for module in known if module.startswith(inside)}
        for name in sorted(names - told - {"__init__"}):
            found.append(f"{package}: does not say what {name} is. A package's docstring is the map of its modules.")
    return found


RULES = {
    "map": map_violations,
    "imports": import_violations,
    "clock": clock_violations,
    "core": core_violations,
    "sizes": size_violations,
    "form": form_violations,
    "unsafe": unsafe_violations,
    "weight": weight_violations,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_rule_of(rule: str) -> None:
    violations = RULES[rule](sources())
    assert not violations, "\n" + "\n".join(violations)


def test_the_tests_themselves_use_no_pickles_and_no_shell() -> None:
    tests = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__).resolve()
    }
    violations = unsafe_violations(tests)
    assert not violations, "\n" + "\n".join(violations)


def test_no_folder_of_tests_is_a_package() -> None:
    strays = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("__init__.py")]
    assert not strays, f"{strays}: files of one name live in several folders, and only importlib mode keeps them apart"


def test_the_readme_begins_with_exactly_two_commands() -> None:
    block = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block, "the README's first code block is what a new user runs"
    demo, tests = block[1].strip().splitlines()
    assert demo.endswith("adaptive demo")
    assert tests.endswith("-m pytest -q")
    assert "-m pytest -q" in (ROOT / ".ci" / "run").read_text(encoding="utf-8"), "CI runs what the README promises"


PLANTED = [
    ("imports", {"adaptive.stats": "from adaptive.controller import Controller"}, "row above"),
    ("imports", {"adaptive.stats": "def f():\n    import adaptive.gateway.worker"}, "row above"),
    ("imports", {"adaptive.types": "from adaptive import ewma"}, "row above"),
    ("imports", {"adaptive.telemetry.ring": "from ..gateway import worker"}, "row above"),
    ("imports", {"models.features": "from adaptive.stats import Stats"}, "row above"),
    ("imports", {"replay.trace": "from models.labels import label"}, "row above"),
    ("imports", {"adaptive.gateway.worker": "from adaptive.admin import api"}, "across"),
    ("imports", {"adaptive.admin.api": "import replay.simulator"}, "across"),
    ("imports", {"adaptive.surprise": "import os"}, "no row"),
    ("imports", {"adaptive.cli": "from adaptive import surprise"}, "no row"),
    ("clock", {"adaptive.gateway.worker": "import time"}, "reads a clock"),
    ("clock", {"adaptive.app": "def f():\n    from time import monotonic"}, "reads a clock"),
    ("clock", {"models.store": "import datetime\nx = datetime.datetime.now()"}, "reads a clock"),
    ("core", {"adaptive.policy.ladder": "import asyncio"}, "no I/O"),
    ("core", {"models.online": "def f():\n    from concurrent import futures\n    import threading"}, "no I/O"),
    ("core", {"adaptive.balancer": "import random\nx = random.choice([1])"}, "global"),
    ("core", {"adaptive.balancer": "from random import choice"}, "global"),
    ("core", {"adaptive.balancer": "import random\nx = random.Random()"}, "without a seed"),
    ("core", {"models.online": "import numpy as np\nx = np.random.normal()"}, "global"),
    ("core", {"models.online": "import numpy as np\nx = np.random.default_rng()"}, "without a seed"),
    ("core", {"adaptive.stats": "import uuid"}, "from the machine"),
    ("sizes", {"adaptive.stats": "x = 1\n" * (MODULE_LINES + 1)}, "two ideas"),
    ("sizes", {"adaptive.stats": "def f():\n" + "    x = 1\n" * FUNCTION_LINES}, "name its parts"),
    ("form", {"adaptive.policy.__init__": '"""Policies."""\nfrom adaptive import types'}, "more than a docstring"),
    ("form", {"adaptive.policy.__init__": ""}, "no docstring"),
    ("form", {"adaptive.stats": '"""Windows."""\nx = 1'}, "__future__"),
    ("map", {"models.__init__": '"""Has a store."""', "models.store": "", "models.past": ""}, "what past is"),
    ("map", {"models.__init__": '"""Says nothing."""', "models.trees.__init__": '"""x"""'}, "what trees is"),
    ("unsafe", {"models.store": "import pickle"}, "runs whatever it says"),
    ("unsafe", {"models.store": "from joblib.externals import x\nimport cloudpickle"}, "runs whatever it says"),
    ("unsafe", {"models.store": "np.load(path, allow_pickle=True)"}, "allows pickles"),
    ("unsafe", {"adaptive.cli": "subprocess.run(line, shell=True)"}, "runs a shell"),
    ("unsafe", {"adaptive.cli": "os.system(line)"}, "runs a shell"),
    ("weight", {"adaptive.gateway.worker": "import numpy as np"}, "every worker"),
    (
        "weight",
        {"adaptive.gateway.worker": "from adaptive.telemetry import ring", "adaptive.telemetry.ring": "import pyarrow"},
        "every worker",
    ),
]


@pytest.mark.parametrize(("rule", "planted", "why"), PLANTED)
def test_a_planted_violation_is_found_and_explained(rule: str, planted: dict[str, str], why: str) -> None:
    violations = RULES[rule](planted)
    assert len(violations) == 1, violations
    assert why in violations[0]


ALLOWED = [
    ("imports", {"adaptive.app": "from adaptive.gateway import worker\nfrom adaptive import cli\nimport os.path"}),
    ("imports", {"replay.simulator": "from adaptive import balancer\nfrom replay import report, scenario"}),
    ("imports", {"adaptive.stats": "from adaptive.policy.ladder import Ladder\nfrom models import features"}),
    ("clock", {"adaptive.clock": "import time", "adaptive.app": "from adaptive import clock\nx = clock.monotonic()"}),
    ("core", {"adaptive.balancer": "import random\ndef f(r: random.Random):\n    return random.Random(r.random())"}),
    ("core", {"models.store": "import socket", "adaptive.gateway.worker": "import asyncio"}),
    ("sizes", {"adaptive.stats": "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)}),
    ("map", {"models.__init__": '"""store, past: both."""', "models.store": "", "models.past.__init__": ""}),
    ("unsafe", {"adaptive.cli": "subprocess.run(words, shell=False)"}),
    (
        "weight",
        {
            "adaptive.gateway.worker": "from adaptive.telemetry import ring",
            "adaptive.telemetry.ring": "if TYPE_CHECKING:\n    import numpy\ndef drain():\n    import numpy",
            "adaptive.telemetry.recorder": "import pyarrow",
        },
    ),
]


@pytest.mark.parametrize(("rule", "planted"), ALLOWED)
def test_what_is_allowed_is_not_reported(rule: str, planted: dict[str, str]) -> None:
    assert RULES[rule](planted) == []

"""What the project says of itself: documents, locks and build files that must not drift from the code."""

import dataclasses
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from gateway.config import (
    Admin,
    AdminTls,
    Audit,
    Database,
    Limits,
    Listen,
    ListenTls,
    Role,
    Shutdown,
    Store,
    User,
    load_config,
)
from gateway.metrics import Metrics
from rules import Action, compile_policy

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LOCKS = sorted(ROOT.glob("requirements/*.txt"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def test_every_document_is_linked_from_somewhere() -> None:
    linked = {ROOT / "README.md"}
    for document in DOCUMENTS:
        for link in _LINK.findall(document.read_text(encoding="utf-8")):
            linked.add((document.parent / link.partition("#")[0]).resolve())
    assert not [_name(document) for document in DOCUMENTS if document not in linked]


def test_every_configuration_key_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    code = set(re.findall(r"[\w*]+", " ".join(re.findall(r"`([^`]+)`", text))))
    classes = (Admin, AdminTls, Audit, Database, Limits, Listen, ListenTls, Shutdown, Store, User)
    keys = {field.name for each in classes for field in dataclasses.fields(each)} - {"name", "roles_listed"}
    assert not keys - code
    assert not {str(role) for role in Role} - code
    assert not {str(action) for action in Action} - code


def test_every_default_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| `(allow|hold|deny)` \|", text, re.MULTILINE))
    actual = {nature.value: decision.word for nature, decision in compile_policy({}).defaults.items()}
    assert documented == actual


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(holdgate_\w+)", text, re.MULTILINE))
    exposed = re.findall(r"^# TYPE (\S+)", Metrics("0").render()[0].decode(), re.MULTILINE)
    assert documented == {name for name in exposed if not name.endswith("_created")}


def test_the_configuration_in_the_readme_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    keys = "A" * 43 + "="
    monkeypatch.setenv("CAROL_VERIFIER", f"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==${keys}:{keys}")
    file = tmp_path / "holdgate.yaml"
    file.write_text(blocks[0], encoding="utf-8")
    assert [rule.name for rule in load_config(file).policy.rules] == ["erasure", "bulk"]


@pytest.mark.parametrize("lock", LOCKS, ids=_name)
def test_every_dependency_is_locked_by_hash(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[\w.\-\[\],]+==[\w.+!]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text


def test_the_locks_agree() -> None:
    def versions(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9.\-]+)==(\S+)", text, re.MULTILINE))

    everything = versions("dev.txt")
    for name in ("runtime.txt", "demo.txt", "build.txt"):
        assert versions(name).items() <= everything.items()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.split(r"[\[<>=~!; ]", text)[0].lower() for text in wanted}
    assert names <= versions("runtime.txt").keys()


def test_the_image_runs_as_nobody_in_particular() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    final = stages[-1]
    user = re.search(r"^USER (\d+)", final, re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
    assert "HEALTHCHECK" in final
    assert "COPY --from=build" in final


def test_the_image_is_built_from_what_it_may_see() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M):
        copied.update(word.rstrip("/") for word in line.split()[:-1])
    assert copied == allowed
    assert not [name for name in copied if not (ROOT / name).exists()]


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE))
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z-]+)", shown, re.MULTILINE))


def test_ci_is_what_a_developer_runs() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    commands = [
        line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    assert commands[0] == "set -euo pipefail"
    assert commands[-2:] == ["make check", "make test"]


def test_the_rules_in_yaml_blocks_of_the_documents_are_yaml() -> None:
    for document in DOCUMENTS:
        for block in re.findall(
            r"^```yaml\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            assert yaml.safe_load(block), _name(document)


def test_every_file_beside_the_code_is_packaged() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = pyproject["tool"]["setuptools"]["package-data"]["*"]
    left_out = [
        _name(file)
        for room in ("protocol", "rules", "gateway")
        for file in (ROOT / room).rglob("*")
        if file.is_file()
        and file.suffix not in (".py", ".pyc")
        and not any(fnmatch(file.name, pattern) for pattern in patterns)
    ]
    assert not left_out


def test_every_folder_of_code_is_a_package() -> None:
    folders = {
        file.parent
        for room in ("protocol", "rules", "gateway", "tests")
        for file in (ROOT / room).rglob("*.py")
    }
    assert not [_name(folder) for folder in folders if not (folder / "__init__.py").exists()]

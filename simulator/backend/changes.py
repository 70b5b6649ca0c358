"""What an operator changes while the platform runs: rules, specs, formulas, master data, how far a dispatch is, dead
letters that are tried again.

Rules: a change is checked first, as it is at the start, then stored, then in force; so a restart has it. Every
change is a new version, and old ones are kept; to roll back is to make an old one the newest. The configuration file
counts when what it says of a rule, a spec or a formula is not what it said at the last start; otherwise the version in
the store does. Master data of the file is taken at every start.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from simulator.backend.conditions import formula_key
from simulator.backend.config import BackendConfig
from simulator.backend.effects import DeadLetter, Record, SaveConfigured, SaveVersion
from simulator.backend.pipeline import Pipeline
from simulator.backend.platform.formulas import Formula, Formulas, read_formula, read_formulas
from simulator.backend.platform.settings import Master
from simulator.backend.queries import Queries
from simulator.backend.rules import RULES_MAX, Rule, Rules, check_formulas, read_rule, shown
from simulator.backend.store import Store
from simulator.errors import UsageError
from simulator.schema import parse
from simulator.wire.spec import ProductSpec

SPECS_MAX = 1000
REPLAY_CHUNK = 200  # then the others have their turn
REPLAY_IDS_MAX = 1000
ID_END = 1 << 63  # the store knows no number from here on

Kind = Literal["rule", "spec", "formula"]
Key = tuple[Kind, str]
M = TypeVar("M", bound=BaseModel)
S = TypeVar("S")

log = logging.getLogger("backend")


class Kept:
    """The rules, specs and formulas of a store, after a configuration file was laid over them."""

    def __init__(self, store: Store, config: BackendConfig, rules: Rules, now_ms: int) -> None:
        self.changes: list[SaveVersion | SaveConfigured] = []
        self.current: dict[Key, SaveVersion] = {}
        self.old_rules: dict[tuple[str, int], Rule] = {}
        self._now_ms = now_ms
        self._ready: dict[Key, Any] = {}  # what is in force as it was read: to read all of it anew takes seconds
        for saved in store.versions():
            self._note(saved)
            if saved.kind == "rule" and saved.document:
                rule = _rule(saved)
                self.old_rules[rule.ruleId, rule.version] = rule
        said: dict[Key, str] = {("rule", name): document_of(rule) for name, rule in rules.by_id.items()}
        said |= {("spec", name): document_of(spec) for name, spec in config.specs.items()}
        formulas = read_formulas(config.formulas).by_id
        said |= {("formula", name): document_of(formula) for name, formula in formulas.items()}
        before: dict[Key, str] = {(one.kind, one.name): one.document or "" for one in store.configured()}
        for key, document in said.items():
            if before.get(key) != document:
                self.changes.append(SaveConfigured(*key, document))
                self._change(key, document)
        for key in before.keys() - said.keys():
            self.changes.append(SaveConfigured(*key, None))
            self._change(key, None)

    @property
    def rules(self) -> Rules:
        """The rules that are in force."""
        return Rules([*self._in_force("rule", _rule)])

    @property
    def specs(self) -> dict[str, ProductSpec]:
        """The specs that are in force, by product."""
        found = ((name, one.document) for (kind, name), one in sorted(self.current.items()) if kind == "spec")
        return {name: _read(ProductSpec, f"spec '{name}'", document) for name, document in found if document}

    @property
    def formulas(self) -> Formulas:
        """The formulas that are in force."""
        return Formulas([*self._in_force("formula", _formula)])

    def _in_force(self, kind: Kind, read: Callable[[SaveVersion], S]) -> Iterator[S]:
        for key, saved in sorted(self.current.items()):
            if key[0] == kind and saved.document:
                if key not in self._ready:
                    self._ready[key] = read(saved)
                yield self._ready[key]

    def next(self, kind: Kind, name: str, at_ms: int, source: Literal["config", "api"], document: str | None) -> Any:
        """The next version of a rule or a spec, or None when nothing changes."""
        last = self.current.get((kind, name))
        if (last.document if last else None) == document:
            return None
        version = SaveVersion(kind, name, last.version + 1 if last else 1, at_ms, source, document)
        self._note(version)
        return version

    def _change(self, key: Key, document: str | None) -> None:
        version = self.next(*key, self._now_ms, "config", document)
        if version:
            self.changes.append(version)

    def _note(self, saved: SaveVersion) -> None:
        self.current[saved.kind, saved.name] = saved
        self._ready.pop((saved.kind, saved.name), None)


def document_of(what: Rule | ProductSpec | Formula) -> str:
    """A rule, a spec or a formula as it is stored."""
    return orjson.dumps(what.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS).decode()


def _rule(saved: SaveVersion) -> Rule:
    return _read(Rule, f"rule '{saved.name}'", saved.document or "").as_version(saved.version)


def _formula(saved: SaveVersion) -> Formula:
    return _read(Formula, f"formula '{saved.name}'", saved.document or "").as_version(saved.version)


def _read(model: type[M], what: str, document: str) -> M:
    try:
        return model.model_validate_json(document)
    except ValidationError as error:  # it was written by another version of this program
        first = error.errors(include_url=False)[0]
        raise UsageError(
            f"the store's {what} is not one any more: {first['msg']}; start with another state_dir"
        ) from None


class Changes:
    """Changes what is in force. UsageError says what is wrong with a change."""

    def __init__(
        self,
        kept: Kept,
        pipeline: Pipeline,
        queries: Queries,
        products: Iterable[str],
        speak: Callable[[Mapping[str, ProductSpec]], None],
    ) -> None:
        """`speak` is told which specs the devices speak from now on."""
        self._kept, self._pipeline, self._queries, self._speak = kept, pipeline, queries, speak
        self._products = set(products)

    def put_rule(self, name: str, body: bytes) -> int:
        """Make or change a rule; its version."""
        entry = json_object(body)
        _is_named(entry, "rule", name)
        known = [*self._products, *self._kept.specs] if self._products else []
        rule = read_rule("rule", entry, known)
        check_formulas("rule", rule, self._kept.formulas.by_id)
        rules = self._kept.rules.by_id
        if name not in rules and len(rules) >= RULES_MAX:
            raise UsageError(f"rules: there are {RULES_MAX} already, which is the most")
        self._rules_are(name, document_of(rule))
        return self._kept.current["rule", name].version

    def delete_rule(self, name: str) -> bool:
        """Do away with a rule, and close its alarms; False when there is none."""
        if name not in self._kept.rules.by_id:
            return False
        self._rules_are(name, None)
        return True

    def put_spec(self, product: str, body: bytes) -> int:
        """Make or change a product's spec (YAML or JSON); its version."""
        if not 0 < len(product) <= 128 or not product.isprintable() or "/" in product:
            raise UsageError("productId: must be 1 to 128 printable characters, without '/'")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise UsageError("the body is not UTF-8") from None
        document = document_of(parse(text, "spec", ProductSpec))
        if ("spec", product) not in self._kept.current and len(self._kept.specs) >= SPECS_MAX:
            raise UsageError(f"specs: there are {SPECS_MAX} already, which is the most")
        version = self._kept.next("spec", product, self._pipeline.now_ms(), "api", document)
        if version:
            self._pipeline.save([version])
            self._pipeline.core.replace_specs(self._kept.specs)
            self._pipeline.commit()
            self._speak(self._kept.specs)
            log.info("spec_changed %s version=%d", product, version.version)
        return self._kept.current["spec", product].version

    def _rules_are(self, name: str, document: str | None) -> None:
        version = self._kept.next("rule", name, self._pipeline.now_ms(), "api", document)
        if version:
            self._pipeline.save([version])
            self._pipeline.replace_rules(self._kept.rules)
            self._pipeline.commit()
            log.info("rule_%s %s version=%d", "changed" if document else "deleted", name, version.version)

    def put_formula(self, name: str, body: bytes) -> int:
        """Make or change a formula; its version."""
        entry = json_object(body)
        _is_named(entry, "formula", name)
        formula = read_formula("formula", entry)
        Formulas([*(self._kept.formulas.by_id | {name: formula}).values()]).check()
        self._formulas_are(name, document_of(formula))
        return self._kept.current["formula", name].version

    def delete_formula(self, name: str) -> bool:
        """Do away with a formula and its values; False when there is none."""
        if name not in self._kept.formulas.by_id:
            return False
        for rule in self._kept.rules.by_id.values():
            if rule.condition and formula_key(name) in rule.compiled.formulas:
                raise UsageError(f"formula '{name}': rule '{rule.ruleId}' looks at it; change or delete that first")
        self._formulas_are(name, None)
        return True

    def _formulas_are(self, name: str, document: str | None) -> None:
        version = self._kept.next("formula", name, self._pipeline.now_ms(), "api", document)
        if version:
            self._pipeline.save([version])
            self._pipeline.replace_formulas(self._kept.formulas)
            self._pipeline.commit()
            log.info("formula_%s %s version=%d", "changed" if document else "deleted", name, version.version)

    def rollback(self, kind: Literal["rule", "formula"], name: str, version: int) -> int:
        """Make an earlier version of a rule or a formula the newest; its new number."""
        versions = self._queries.history(kind, name)
        document = next((one[kind] for one in versions if one["version"] == version), None)
        if document is None:
            raise UsageError(f"version: there is no version {version} of {kind} '{name}', or it was none any more")
        put = self.put_rule if kind == "rule" else self.put_formula
        new = put(name, orjson.dumps(document))
        if new != versions[0]["version"]:
            told = {"name": name, "to": version, "version": new}
            self._pipeline.save([Record(self._pipeline.now_ms(), f"{kind}_rolled_back", "", "", told)])
            self._pipeline.commit()
        return new

    def put_master(self, body: bytes) -> dict[str, int]:
        """Take master data, {"devices": [{"device_id", "site_id"}], "sites": [{"site_id", "customer_id"}]}."""
        try:
            said = Master.model_validate(json_object(body))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"master.{where}: {first['msg']}") from None
        effects = self._pipeline.core.put_master(said)
        self._pipeline.save(effects)
        self._pipeline.commit()
        log.info("master_changed %d", len(effects))
        return {"devices": len(said.devices), "sites": len(said.sites), "changed": len(effects)}

    def advance_dispatch(self, alarm_id: str, state: str, who: str = "", note: str = "") -> None:
        """A field engineer goes on; UsageError when that is no next step."""
        effects = self._pipeline.core.advance_dispatch(alarm_id, state, who, note, self._pipeline.now_ms())
        if not effects:
            raise UsageError(f"dispatch '{alarm_id[:200]}': there is none, or it has ended")
        self._pipeline.save(effects)
        self._pipeline.commit()

    async def replay(self, body: bytes) -> dict[str, Any]:
        """Try dead letters again: {"ids": […]} or {"reason": "…"}."""
        wanted = json_object(body)
        if wanted.keys() == {"reason"} and type(wanted["reason"]) is str:
            return await self._replay(self._of_reason(wanted["reason"]))
        ids = wanted.get("ids")
        if wanted.keys() != {"ids"} or type(ids) is not list or not all(type(i) is int and 0 < i < ID_END for i in ids):
            raise UsageError('the body must be {"ids": [1, 2]} or {"reason": "bin.no_product_spec"}')
        if len(ids) > REPLAY_IDS_MAX:
            raise UsageError(f"ids: more than {REPLAY_IDS_MAX}")
        return await self._replay(self._of_ids(sorted(set(ids))))

    def _of_reason(self, reason: str) -> Iterable[list[tuple[int, DeadLetter]] | int]:
        after, last = 0, self._queries.last_letter()
        while found := self._queries.letters(after, REPLAY_CHUNK, reason):
            after = found[-1][0]
            yield [(letter_id, letter) for letter_id, letter, _ in found if letter_id <= last]
            if after >= last:
                break

    def _of_ids(self, ids: list[int]) -> Iterable[list[tuple[int, DeadLetter]] | int]:
        for letter_id in ids:
            found = self._queries.letters(letter_id - 1, 1)
            if found and found[0][0] == letter_id:
                yield [(letter_id, found[0][1])]
            else:
                yield letter_id

    async def _replay(self, chunks: Iterable[list[tuple[int, DeadLetter]] | int]) -> dict[str, Any]:
        replayed, failed, unknown = 0, Counter[str](), []
        for chunk in chunks:
            if isinstance(chunk, int):
                unknown.append(chunk)  # there is none, or it was replayed already
                continue
            for letter_id, letter in chunk:
                again = self._pipeline.replay(letter_id, letter)
                failed[again] += bool(again)
                replayed += not again
            self._pipeline.commit()
            await asyncio.sleep(0)
        failed = +failed
        log.info("dead_letters_replayed %d, refused again %d", replayed, failed.total())
        return {"replayed": replayed, "failed": dict(failed), "unknown": unknown}


def _is_named(entry: dict[str, Any], kind: Kind, name: str) -> None:
    """A rule or a formula bears the name of its address, to the letter."""
    key = f"{kind}Id"
    if entry.setdefault(key, name) != name:
        raise UsageError(f"{kind}.{key}: is '{shown(entry[key])}', but the address says '{name}'")
    if name != name.strip():  # the models strip, and then it would be another's
        raise UsageError(f"{kind}.{key}: '{name}' has spaces around it")


def json_object(body: bytes) -> dict[str, Any]:
    """A body that is an object; UsageError."""
    try:
        found = orjson.loads(body)
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    if type(found) is not dict:
        raise UsageError("the body must be an object")
    return found

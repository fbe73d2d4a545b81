"""The server's own rewritten tree of a statement: what it names by OID, behind views, rules and policies.

PostgreSQL prints it (``debug_print_rewritten``) in its node format, which changes with each major version and is
promised to nobody. So it is read strictly: a node or a field that is not known from versions 15 to 18, or a
shape they do not have, means that nothing is known (:class:`UnknownShape`). Of utility statements there is no tree.

Source: PostgreSQL documentation, "Error Reporting and Logging" (debug_print_rewritten); ``nodes/outfuncs.c`` and
``nodes/print.c`` of the server.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Rewritten", "UnknownShape", "read_rewritten"]

MAX_DEPTH: Final = 400

_KNOWN: Final = """
AGGREF aggargtypes:T aggcollid aggdirectargs aggdistinct aggfilter aggfnoid:F aggkind agglevelsup aggno
    aggorder aggpresorted aggsplit aggstar aggtransno aggtranstype aggtype:T aggvariadic args inputcollid location
ALIAS aliasname colnames
ARRAYCOERCEEXPR arg coerceformat elemexpr location resultcollid resulttype:T resulttypmod
ARRAYEXPR array_collid array_typeid:T element_typeid:T elements list_end list_start location multidims
BOOLEANTEST arg booltesttype location
BOOLEXPR args boolop location
CASEEXPR arg args casecollid casetype:T defresult location
CASETESTEXPR collation typeId:T typeMod
CASEWHEN expr location result
COALESCEEXPR args coalescecollid coalescetype:T location
COERCETODOMAIN arg coercionformat location resultcollid resulttype:T resulttypmod
COERCEVIAIO arg coerceformat location resultcollid resulttype:T
COLLATEEXPR arg collOid location
COMMONTABLEEXPR aliascolnames ctecolcollations ctecolnames ctecoltypes:T ctecoltypmods ctematerialized ctename
    ctequery cterecursive cterefcount cycle_clause location search_clause
CONST constbyval constcollid constisnull constlen consttype:T consttypmod constvalue location
CTECYCLECLAUSE cycle_col_list cycle_mark_collation cycle_mark_column cycle_mark_default cycle_mark_neop:O
    cycle_mark_type:T cycle_mark_typmod cycle_mark_value cycle_path_column location
CTESEARCHCLAUSE location search_breadth_first search_col_list search_seq_column
CURRENTOFEXPR cursor_name cursor_param cvarno
DISTINCTEXPR args inputcollid location opcollid opfuncid:F opno:O opresulttype:T opretset
FIELDSELECT arg fieldnum resultcollid resulttype:T resulttypmod
FROMEXPR fromlist quals
FUNCEXPR args funccollid funcformat funcid:F funcresulttype:T funcretset funcvariadic inputcollid location
GROUPINGFUNC agglevelsup args cols location refs
GROUPINGSET content kind location
INFERENCEELEM expr infercollid inferopclass
JOINEXPR alias isNatural join_using_alias jointype larg quals rarg rtindex usingClause
JSONBEHAVIOR btype coerce expr location
JSONCONSTRUCTOREXPR absent_on_null args coercion func location returning type unique
JSONEXPR collation column_name format formatted_expr location omit_quotes on_empty on_error op passing_names
    passing_values path_spec returning use_io_coercion use_json_coercion wrapper
JSONFORMAT encoding format_type location
JSONISPREDICATE expr format item_type location unique_keys
JSONRETURNING format typid:T typmod
JSONVALUEEXPR format formatted_expr raw_expr
MERGEACTION commandType matchKind matched override qual targetList updateColnos
MERGESUPPORTFUNC location msfcollid msftype:T
MINMAXEXPR args inputcollid location minmaxcollid minmaxtype:T op
NAMEDARGEXPR arg argnumber location name
NULLIFEXPR args inputcollid location opcollid opfuncid:F opno:O opresulttype:T opretset
NULLTEST arg argisrow location nulltesttype
ONCONFLICTEXPR action arbiterElems arbiterWhere constraint exclRelIndex exclRelTlist onConflictSet
    onConflictWhere
OPEXPR args inputcollid location opcollid opfuncid:F opno:O opresulttype:T opretset
PARAM location paramcollid paramid paramkind paramtype:T paramtypmod
QUERY canSetTag commandType constraintDeps cteList distinctClause groupClause groupDistinct groupingSets
    hasAggs hasDistinctOn hasForUpdate hasGroupRTE hasModifyingCTE hasRecursive hasRowSecurity hasSubLinks
    hasTargetSRFs hasWindowFuncs havingQual isReturn jointree limitCount limitOffset limitOption mergeActionList
    mergeJoinCondition mergeTargetRelation mergeUseOuterJoin onConflict override querySource resultRelation
    returningList returningNewAlias returningOldAlias rowMarks rtable rteperminfos setOperations sortClause
    stmt_len stmt_location targetList utilityStmt windowClause withCheckOptions
RANGETBLENTRY alias checkAsUser colcollations coltypes:T coltypmods ctelevelsup ctename eref extraUpdatedCols
    funcordinality functions groupexprs inFromCl inh insertedCols join_using_alias joinaliasvars joinleftcols
    joinmergedcols joinrightcols jointype lateral perminfoindex relid:R relkind rellockmode requiredPerms rtekind
    securityQuals security_barrier selectedCols self_reference subquery tablefunc tablesample updatedCols
    values_lists
RANGETBLFUNCTION funccolcollations funccolcount funccolnames funccoltypes:T funccoltypmods funcexpr funcparams
RANGETBLREF rtindex
RELABELTYPE arg location relabelformat resultcollid resulttype:T resulttypmod
ROWCOMPAREEXPR cmptype inputcollids largs opfamilies opnos:O rargs rctype
ROWEXPR args colnames location row_format row_typeid:T
ROWMARKCLAUSE pushedDown rti strength waitPolicy
RTEPERMISSIONINFO checkAsUser inh insertedCols relid:R requiredPerms selectedCols updatedCols
SCALARARRAYOPEXPR args hashfuncid:F inputcollid location negfuncid:F opfuncid:F opno:O useOr
SETOPERATIONSTMT all colCollations colTypes:T colTypmods groupClauses larg op rarg
SORTGROUPCLAUSE eqop:O hashable nulls_first reverse_sort sortop:O tleSortGroupRef
SQLVALUEFUNCTION location op type:T typmod
SUBLINK location operName subLinkId subLinkType subselect testexpr
SUBSCRIPTINGREF refassgnexpr refcollid refcontainertype:T refelemtype:T refexpr reflowerindexpr refrestype:T
    reftypmod refupperindexpr
TABLEFUNC colcollations coldefexprs colexprs colnames coltypes:T coltypmods colvalexprs docexpr functype
    location notnulls ns_names ns_uris ordinalitycol passingvalexprs plan rowexpr
TABLESAMPLECLAUSE args repeatable tsmhandler:F
TARGETENTRY expr resjunk resname resno resorigcol resorigtbl ressortgroupref
VAR location varattno varattnosyn varcollid varlevelsup varno varnosyn varnullingrels varreturningtype
    vartype:T vartypmod
WINDOWCLAUSE copiedOrder endInRangeFunc:F endOffset frameOptions inRangeAsc inRangeColl inRangeNullsFirst name
    orderClause partitionClause refname runCondition startInRangeFunc:F startOffset winref
WINDOWFUNC aggfilter args inputcollid location runCondition winagg wincollid winfnoid:F winref winstar
    wintype:T
XMLEXPR arg_names args indent location name named_args op type:T typmod xmloption
"""
"""Node types with their fields. Behind a colon: what the OIDs in a field are of, F functions, O operators, T types,
R relations. Collations lead to no code. A node that goes on is indented."""


def _fields() -> dict[str, dict[str, str]]:
    nodes: dict[str, dict[str, str]] = {}
    for line in _KNOWN.replace("\n    ", " ").split("\n"):
        name, *fields = line.split() or [""]
        if name:
            nodes[name] = {one.partition(":")[0]: one.partition(":")[2] for one in fields}
    return nodes


_NODES: Final[Mapping[str, Mapping[str, str]]] = _fields()

_COMMANDS: Final = {"1": "SELECT", "2": "UPDATE", "3": "INSERT", "4": "DELETE", "5": "MERGE", "7": "NOTHING"}
"""As in ``CmdType``, 6 being utility statements."""

_WORD: Final = re.compile(
    r"""\s+ | [{}()\[\]] | "(?:\\.|[^"\\])*" | (?:\\.|[^\s{}()\[\]"\\])+""", re.DOTALL | re.VERBOSE
)
_OID: Final = re.compile(r"[0-9]{1,10}")
_SETS: Final = frozenset("bio")
"""What begins a list of plain numbers: a bitmap, integers, OIDs."""


class UnknownShape(ValueError):
    """The text is no tree of a shape that is known; the message says where, for people."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a tree names: its commands, and OIDs. ``relations`` have their kind as in pg_class, empty where the tree
    does not say. Types are those of any value in it, of constants and results too."""

    commands: frozenset[str]
    relations: Mapping[int, str]
    functions: frozenset[int]
    operators: frozenset[int]
    types: frozenset[int]


@dataclass(slots=True)
class _Found:
    commands: set[str] = field(default_factory=set)
    relations: dict[int, str] = field(default_factory=dict)
    oids: dict[str, set[int]] = field(default_factory=lambda: {"F": set(), "O": set(), "T": set()})


def read_rewritten(text: str) -> Rewritten:
    """What the tree of one statement names, a list of queries as the server prints it. Raises :class:`UnknownShape`."""
    words = _words(text)
    found = _Found()
    _value(next(words, ""), words, found, "", "", 0)
    if next(words, None) is not None:
        raise UnknownShape("something stands behind the tree")
    if not found.commands:
        raise UnknownShape("there is no query in it")
    functions, operators, types = (frozenset(found.oids[kind] - {0}) for kind in "FOT")
    return Rewritten(frozenset(found.commands), found.relations, functions, operators, types)


def _words(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise UnknownShape(f"the text cannot be read from character {at}")
        at = match.end()
        if not match[0].isspace():
            yield match[0]


def _node(words: Iterator[str], found: _Found, depth: int) -> None:
    name = next(words, "")
    fields = _NODES.get(name)
    if fields is None:
        raise UnknownShape(f"a node of type {name} is not known")
    if depth > MAX_DEPTH:
        raise UnknownShape("it is nested too deeply")
    values: dict[str, str] = {}
    pushed = None
    while (word := pushed or next(words, "")) != "}":
        key = word[1:]
        if word[:1] != ":" or key not in fields or key in values:
            raise UnknownShape(f"a field {word} of {name} is not known")
        # Whatever begins the value is the value: a name may begin like a field.
        values[key], pushed = _value(next(words, ""), words, found, name, key, depth + 1)
    _note(name, values, found)


def _value(
    word: str, words: Iterator[str], found: _Found, name: str, key: str, depth: int
) -> tuple[str, str | None]:
    """One value: its text if it is a plain one, and a word that was read behind it."""
    kind = _NODES.get(name, {}).get(key, "")
    if word == "{":
        _node(words, found, depth)
        return "", None
    if word == "(":
        _list(words, found, name, key, depth + 1)
        return "", None
    if not word or word in ("}", ")", "[", "]"):
        raise UnknownShape(f"a value of {name}.{key} is missing")
    if key == "constvalue" and word != "<>":
        _datum(words)
    elif kind and kind != "R" and word != "<>":
        found.oids[kind].add(_oid(word, name, key))
    return word, None


def _list(words: Iterator[str], found: _Found, name: str, key: str, depth: int) -> None:
    kind = _NODES.get(name, {}).get(key, "")
    first = True
    for word in words:
        if word == ")":
            return
        if word in ("{", "("):
            _value(word, words, found, name if kind else "", key, depth)
        elif word in ("}", "[", "]"):
            break
        elif kind and not (first and word in _SETS):
            found.oids[kind].add(_oid(word, name, key))
        first = False
    raise UnknownShape(f"a list in {name}.{key} does not end")


def _datum(words: Iterator[str]) -> None:
    if next(words, "") != "[":
        raise UnknownShape("a constant without its bytes")
    for word in words:
        if word == "]":
            return
        if not word.lstrip("-").isdigit():
            break
    raise UnknownShape("the bytes of a constant do not end")


def _oid(word: str, name: str, key: str) -> int:
    if _OID.fullmatch(word) is None:
        raise UnknownShape(f"{name}.{key} is not an OID")
    return int(word)


def _note(name: str, values: Mapping[str, str], found: _Found) -> None:
    if name == "QUERY":
        command = _COMMANDS.get(values.get("commandType", ""))
        if command is None or values.get("utilityStmt") != "<>":
            raise UnknownShape("it is a utility statement, or a command that is not known")
        found.commands.add(command)
    elif "relid" in values:
        oid = _oid(values["relid"], name, "relid")
        if oid:
            found.relations[oid] = values.get("relkind") or found.relations.get(oid, "")

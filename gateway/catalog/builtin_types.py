"""PostgreSQL's own types by name: their OIDs are the same on every server.

Source: PostgreSQL 18, ``select typname, oid, typarray from pg_type`` without arrays and row types; what is
missing in an older version is not used there.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["NAME_BY_OID", "OID_BY_NAME"]

_TYPES: Final = """
_record:2287 aclitem:1033:1034 any:2276 anyarray:2277 anycompatible:5077 anycompatiblearray:5078
anycompatiblemultirange:4538 anycompatiblenonarray:5079 anycompatiblerange:5080 anyelement:2283 anyenum:3500
anymultirange:4537 anynonarray:2776 anyrange:3831 bit:1560:1561 bool:16:1000 box:603:1020 bpchar:1042:1014
bytea:17:1001 char:18:1002 cid:29:1012 cidr:650:651 circle:718:719 cstring:2275:1263 date:1082:1182
datemultirange:4535:6155 daterange:3912:3913 event_trigger:3838 fdw_handler:3115 float4:700:1021
float8:701:1022 gtsvector:3642:3644 index_am_handler:325 inet:869:1041 int2:21:1005 int2vector:22:1006
int4:23:1007 int4multirange:4451:6150 int4range:3904:3905 int8:20:1016 int8multirange:4536:6157
int8range:3926:3927 internal:2281 interval:1186:1187 json:114:199 jsonb:3802:3807 jsonpath:4072:4073
language_handler:2280 line:628:629 lseg:601:1018 macaddr:829:1040 macaddr8:774:775 money:790:791 name:19:1003
numeric:1700:1231 nummultirange:4532:6151 numrange:3906:3907 oid:26:1028 oidvector:30:1013 path:602:1019
pg_brin_bloom_summary:4600 pg_brin_minmax_multi_summary:4601 pg_ddl_command:32 pg_dependencies:3402
pg_lsn:3220:3221 pg_mcv_list:5017 pg_ndistinct:3361 pg_node_tree:194 pg_snapshot:5038:5039 point:600:1017
polygon:604:1027 record:2249:2287 refcursor:1790:2201 regclass:2205:2210 regcollation:4191:4192
regconfig:3734:3735 regdictionary:3769:3770 regnamespace:4089:4090 regoper:2203:2208 regoperator:2204:2209
regproc:24:1008 regprocedure:2202:2207 regrole:4096:4097 regtype:2206:2211 table_am_handler:269 text:25:1009
tid:27:1010 time:1083:1183 timestamp:1114:1115 timestamptz:1184:1185 timetz:1266:1270 trigger:2279
tsm_handler:3310 tsmultirange:4533:6152 tsquery:3615:3645 tsrange:3908:3909 tstzmultirange:4534:6153
tstzrange:3910:3911 tsvector:3614:3643 txid_snapshot:2970:2949 unknown:705 uuid:2950:2951 varbit:1562:1563
varchar:1043:1015 void:2278 xid:28:1011 xid8:5069:271 xml:142:143
"""


def _named() -> Mapping[str, int]:
    """Each type, and ``name[]`` for its array."""
    found: dict[str, int] = {}
    for entry in _TYPES.split():
        name, oid, *array = entry.split(":")
        found[name] = int(oid)
        if array:
            found[f"{name}[]"] = int(array[0])
    return found


OID_BY_NAME: Final = _named()
NAME_BY_OID: Final[Mapping[int, str]] = {oid: name for name, oid in OID_BY_NAME.items()}

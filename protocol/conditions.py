"""What an error or notice may say where nothing of the data may be in it.

A text for each SQLSTATE: the condition names of PostgreSQL's appendix in words, or, where it says more, the
server's own message without its parameters. And the messages of the server that have no parameters: these may
be shown as they are.

Source: PostgreSQL documentation, appendix "PostgreSQL Error Codes"; ``src/backend/utils/errcodes.txt``.
"""

from typing import Final


def _table(text: str) -> dict[str, str]:
    return {code: words for code, _, words in (line.partition(" ") for line in text.strip().splitlines())}


CLASSES: Final = _table(
    """
00 message of the server
01 warning
02 no data
03 statement not yet complete
08 connection exception
09 triggered action exception
0A feature is not supported
0B invalid transaction initiation
0F locator exception
0L invalid grantor
0P invalid role specification
0Z diagnostics exception
10 XQuery error
20 case not found
21 cardinality violation
22 data exception
23 integrity constraint violation
24 invalid cursor state
25 invalid transaction state
26 invalid statement name
27 triggered data change violation
28 invalid authorization specification
2B dependent privilege descriptors still exist
2D invalid transaction termination
2F SQL routine exception
34 invalid cursor name
38 external routine exception
39 external routine invocation exception
3B savepoint exception
3D invalid catalog name
3F invalid schema name
40 transaction rollback
42 syntax error or access rule violation
44 WITH CHECK OPTION violation
53 insufficient resources
54 program limit exceeded
55 object not in prerequisite state
57 operator intervention
58 system error
F0 configuration file error
HV foreign data wrapper error
P0 PL/pgSQL error
XX internal error
"""
)
"""By the first two characters of a SQLSTATE."""

CONDITIONS: Final = _table(
    """
00000 message of the server
01000 warning
01003 null value eliminated in set function
01004 value was cut off
01006 privilege not revoked
01007 privilege not granted
01008 implicit zero bit padding
0100C dynamic result sets returned
01P01 deprecated feature
02000 no data
02001 no additional dynamic result sets returned
03000 SQL statement not yet complete
08000 connection exception
08001 could not connect to another server
08003 connection does not exist
08004 another server rejected the connection
08006 connection failure
08007 transaction resolution unknown
08P01 protocol violation
09000 triggered action exception
0A000 feature is not supported
0B000 invalid transaction initiation
0F000 locator exception
0F001 invalid locator specification
0L000 invalid grantor
0LP01 invalid grant operation
0P000 invalid role specification
0Z000 diagnostics exception
0Z002 stacked diagnostics accessed without active handler
10608 invalid argument for XQuery
20000 case not found
21000 more rows or values than one where one is wanted
22000 data exception
22001 value too long for its type
22002 null value without an indicator parameter
22003 value out of range
22004 null value not allowed
22005 error in assignment
22007 invalid input syntax for a date or time
22008 date/time value out of range
22009 time zone displacement out of range
2200B escape character conflict
2200C invalid use of escape character
2200D invalid escape octet
2200F zero length character string
2200G most specific type mismatch
2200H reached the end of a sequence
2200L not an XML document
2200M invalid XML document
2200N invalid XML content
2200S invalid XML comment
2200T invalid XML processing instruction
22010 invalid indicator parameter value
22011 substring error
22012 division by zero
22013 invalid preceding or following size
22014 invalid argument for ntile function
22015 interval field value out of range
22016 invalid argument for nth value function
22018 invalid character value for cast
22019 invalid escape character
2201B invalid regular expression
2201E invalid argument for logarithm
2201F invalid argument for power function
2201G invalid argument for width bucket function
2201W invalid row count in LIMIT clause
2201X invalid row count in result OFFSET clause
22021 invalid byte sequence for encoding
22022 indicator overflow
22023 invalid value for a parameter
22024 unterminated c string
22025 invalid escape sequence
22026 string length does not match its type
22027 trim error
2202E array subscript out of range, or arrays that do not match
2202G invalid TABLESAMPLE repeat
2202H invalid TABLESAMPLE argument
22030 duplicate JSON object key value
22031 invalid argument for SQL JSON datetime function
22032 invalid JSON text
22033 invalid SQL JSON subscript
22034 more than one SQL JSON item
22035 no SQL JSON item
22036 non numeric SQL JSON item
22037 non unique keys in a JSON object
22038 singleton SQL JSON item required
22039 SQL JSON array not found
2203A SQL JSON member not found
2203B SQL JSON number not found
2203C SQL JSON object not found
2203D too many JSON array elements
2203E too many JSON object members
2203F SQL JSON scalar required
2203G SQL JSON item cannot be cast to target type
22P01 floating point exception
22P02 invalid input syntax
22P03 incorrect binary data format
22P04 invalid COPY data
22P05 character has no equivalent in the other encoding
22P06 nonstandard use of escape character
23000 integrity constraint violation
23001 row is still referred to (RESTRICT)
23502 null value violates not-null constraint
23503 row violates foreign key constraint
23505 duplicate key value violates unique constraint
23514 row violates check constraint
23P01 conflicting key value violates exclusion constraint
24000 invalid cursor state
25000 invalid transaction state
25001 this cannot run inside a transaction
25002 branch transaction already active
25003 inappropriate access mode for branch transaction
25004 inappropriate isolation level for branch transaction
25005 no active SQL transaction for branch transaction
25006 cannot execute this in a read-only transaction
25007 schema and data statement mixing not supported
25008 held cursor requires same isolation level
25P01 there is no transaction in progress
25P02 current transaction is aborted, commands ignored until end of transaction block
25P03 terminating connection due to idle-in-transaction timeout
25P04 terminating connection due to transaction timeout
26000 prepared statement does not exist
27000 triggered data change violation
28000 invalid authorization specification
28P01 invalid password
2B000 dependent privilege descriptors still exist
2BP01 cannot drop it because other objects depend on it
2D000 invalid transaction termination
2F000 SQL routine exception
2F002 modifying SQL data not permitted
2F003 prohibited SQL statement attempted
2F004 reading SQL data not permitted
2F005 control reached end of function without RETURN
34000 cursor does not exist
38000 external routine exception
38001 containing SQL not permitted
38002 modifying SQL data not permitted
38003 prohibited SQL statement attempted
38004 reading SQL data not permitted
39000 external routine invocation exception
39001 invalid sqlstate returned
39004 null value not allowed
39P01 trigger protocol violated
39P02 set-returning function protocol violated
39P03 event trigger protocol violated
3B000 savepoint exception
3B001 savepoint does not exist
3D000 database does not exist
3F000 schema does not exist
40000 transaction rollback
40001 could not serialize access
40002 transaction integrity constraint violation
40003 statement completion unknown
40P01 deadlock detected
42000 syntax error or access rule violation
42501 permission denied
42601 syntax error
42602 invalid name
42611 invalid column definition
42622 name too long
42701 column specified more than once
42702 reference is ambiguous
42703 column does not exist
42704 object does not exist
42710 object already exists
42712 table name specified more than once
42723 function already exists
42725 function is not unique
42803 column must appear in the GROUP BY clause or be used in an aggregate function
42804 types do not match
42809 wrong object type
42830 invalid foreign key
42846 cannot cast
42883 function or operator does not exist
428C9 cannot give a value to a generated column
42939 reserved name
42P01 relation does not exist
42P02 there is no such parameter
42P03 cursor already exists
42P04 database already exists
42P05 prepared statement already exists
42P06 schema already exists
42P07 relation already exists
42P08 could not determine the type of a parameter
42P09 ambiguous alias
42P10 invalid column reference
42P11 invalid cursor definition
42P12 invalid database definition
42P13 invalid function definition
42P14 invalid prepared statement definition
42P15 invalid schema definition
42P16 invalid table definition
42P17 invalid object definition
42P18 could not determine a type
42P19 invalid recursion
42P20 windowing error
42P21 collation mismatch
42P22 could not determine which collation to use
44000 new row violates check option for a view
53000 insufficient resources
53100 disk full
53200 out of memory
53300 too many connections
53400 configuration LIMIT exceeded
54000 a limit of the server was exceeded
54001 statement too complex
54011 too many columns
54023 too many arguments
55000 object is not in the state this needs
55006 object is in use
55P02 parameter cannot be changed now
55P03 could not obtain lock
55P04 unsafe new enum value usage
57000 operator intervention
57014 canceling statement
57P01 terminating connection due to administrator command
57P02 crash shutdown
57P03 cannot connect now
57P04 database dropped
57P05 terminating connection due to idle-session timeout
58000 system error
58030 io error
58P01 undefined file
58P02 duplicate file
58P03 file name too long
F0000 config file error
F0001 lock file exists
HV000 foreign data wrapper: error
HV001 foreign data wrapper: out of memory
HV002 foreign data wrapper: dynamic parameter value needed
HV004 foreign data wrapper: invalid data type
HV005 foreign data wrapper: column name not found
HV006 foreign data wrapper: invalid data type descriptors
HV007 foreign data wrapper: invalid column name
HV008 foreign data wrapper: invalid column number
HV009 foreign data wrapper: invalid use of null pointer
HV00A foreign data wrapper: invalid string format
HV00B foreign data wrapper: invalid handle
HV00C foreign data wrapper: invalid option index
HV00D foreign data wrapper: invalid option name
HV00J foreign data wrapper: option name not found
HV00K foreign data wrapper: reply handle
HV00L foreign data wrapper: unable to create execution
HV00M foreign data wrapper: unable to create reply
HV00N foreign data wrapper: unable to establish connection
HV00P foreign data wrapper: no schemas
HV00Q foreign data wrapper: schema not found
HV00R foreign data wrapper: table not found
HV010 foreign data wrapper: function sequence error
HV014 foreign data wrapper: too many handles
HV021 foreign data wrapper: inconsistent descriptor information
HV024 foreign data wrapper: invalid attribute value
HV090 foreign data wrapper: invalid string length or buffer length
HV091 foreign data wrapper: invalid descriptor field identifier
P0000 PL/pgSQL error
P0001 exception raised by a function
P0002 query returned no rows
P0003 query returned more than one row
P0004 assertion failed
XX000 internal error
XX001 data corrupted
XX002 index corrupted
"""
)
"""By SQLSTATE."""

WITHOUT_PARAMETERS: Final = frozenset(
    """
a negative number raised to a non-integer power yields a complex result
argument of nth_value must be greater than zero
argument of ntile must be greater than zero
array subscript out of range
bigint out of range
cached plan must not change result type
canceling autovacuum task
canceling statement due to conflict with recovery
canceling statement due to lock timeout
canceling statement due to statement timeout
canceling statement due to user request
cannot take logarithm of a negative number
cannot take logarithm of zero
cannot take square root of a negative number
control reached end of function without RETURN
could not serialize access due to concurrent delete
could not serialize access due to concurrent update
could not serialize access due to read/write dependencies among transactions
date out of range
date out of range for timestamp
expected JSON array
extra data after last expected column
input is out of range
integer out of range
interval out of range
invalid escape string
invalid input syntax for type json
invalid Unicode escape
LIKE pattern must not end with escape character
LIMIT must not be negative
mismatched array dimensions
money out of range
more than one row returned by a subquery used as an expression
multidimensional arrays must have array expressions with matching dimensions
negative substring length not allowed
numeric field overflow
OFFSET must not be negative
out of shared memory
requested length too large
smallint out of range
stack depth limit exceeded
step size cannot equal zero
terminating connection because of crash of another server process
terminating connection due to conflict with recovery
terminating connection due to immediate shutdown command
the database system is shutting down
there is already a transaction in progress
time out of range
timestamp out of range
too many arguments
unexpected EOF in COPY data
unsupported Unicode escape sequence
value out of range: overflow
value out of range: underflow
value overflows numeric format
wrong number of array subscripts
zero raised to a negative power is undefined
""".strip().splitlines()
)
"""Whole messages that are the same whatever the data is."""


def words(sqlstate: str) -> str:
    """The text for a SQLSTATE, known or not."""
    return CONDITIONS.get(sqlstate) or CLASSES.get(sqlstate[:2]) or "error"

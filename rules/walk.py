"""Step through the tokens of a utility statement."""

from rules.lexer import Kind, Token
from rules.reader import Source, Unreadable


class Walker:
    """A position in a statement; every ``take`` moves on only if it matched."""

    __slots__ = ("position", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.position = 0

    @property
    def token(self) -> Token | None:
        """The token to come, None at the end."""
        tokens = self.source.tokens
        return tokens[self.position] if self.position < len(tokens) else None

    @property
    def word(self) -> str:
        """The key word or unquoted name to come, else empty."""
        token = self.token
        return token.word if token is not None else ""

    def peek(self, ahead: int) -> str:
        """The word or sign ``ahead`` tokens further on, else empty."""
        index = self.position + ahead
        tokens = self.source.tokens
        if index >= len(tokens) or tokens[index].kind not in (Kind.WORD, Kind.PUNCTUATION):
            return ""
        return tokens[index].value

    def take(self, *words: str) -> bool:
        """Move past these key words or signs if they all follow."""
        if all(self.peek(index) == word for index, word in enumerate(words)):
            self.position += len(words)
            return True
        return False

    def take_any(self, *words: str) -> str:
        """Move past one of these words; which one, or empty."""
        for word in words:
            if self.take(word):
                return word
        return ""

    def skip(self) -> None:
        """Move past one token, or past a bracket with all in it."""
        if self.peek(0) not in ("(", "["):
            self.position += 1
            return
        depth = 0
        while self.position < len(self.source.tokens):
            sign = self.peek(0)
            depth += (sign in ("(", "[")) - (sign in (")", "]"))
            self.position += 1
            if depth == 0:
                return

    def name(self) -> str:
        """Move past one name.  Raises Unreadable if none follows."""
        token = self.token
        if token is None or not token.is_name:
            raise Unreadable("a name is missing")
        self.position += 1
        return token.value

    def dotted(self) -> tuple[str | None, str]:
        """Move past a name with or without its schema; a database's name in front is left out."""
        parts = [self.name()]
        while self.take("."):
            parts.append(self.name())
        return (parts[-2] if len(parts) > 1 else None), parts[-1]

    def string(self) -> str | None:
        """Move past a string constant; its value, or None if none follows."""
        token = self.token
        if token is None or token.kind is not Kind.STRING:
            return None
        self.position += 1
        return token.value

    def rest(self) -> Source:
        """The statement from here on.  Raises Unreadable if nothing is left."""
        if self.token is None:
            raise Unreadable("the statement ends too early")
        return self.source.part(self.position)

    def find(self, *words: str) -> bool:
        """Move to behind the first place, outside of brackets, where these words stand."""
        start = self.position
        while self.token is not None:
            if self.take(*words):
                return True
            self.skip()
        self.position = start
        return False

    def has(self, *words: str) -> bool:
        """Whether these words stand anywhere ahead, outside of brackets."""
        start = self.position
        found = self.find(*words)
        self.position = start
        return found

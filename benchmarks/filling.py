"""Fills a Redis with users and sessions, quickly: by the product's own scripts, in pipelines."""

import asyncio
import base64
import hashlib
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator

from redis import Redis

from benchmarks.measuring import chosen
from gateway.accounts.passwords import Passwords
from gateway.accounts.users import REFUSAL_KEPT_SECONDS
from gateway.clock import system_clock
from gateway.derived_keys import KeyChain
from gateway.machines import DEFAULT_DAYS, PersonalToken
from gateway.machines.personal_tokens import DAY_SECONDS, MAX_PER_USER
from gateway.machines.token_text import TOKEN_ID_PREFIX
from gateway.sessions import SessionCookie
from gateway.sessions.families import RefreshToken
from gateway.settings import Settings
from gateway.store.store import Script
from tests.harness import PASSWORD, SECRET

PREFIX = "gw:"
PIPELINE = 2000
ERROR = re.compile(rb"-[A-Z]+ ")
SETTLE_HZ, SETTLE_SECONDS, SETTLED_BYTES = 500, chosen(2.0, 0.1), 16_384
# An IPv4 address and the longest device label.
TAIL = bytes([4, 192, 0, 2, 1]) + b"Firefox on Windows 110"
ROLES = b"demo,staff"


class Filler:
    """
    Adds users 0, 1, 2, ... and one session for each: what `Users.add` and `RefreshFamilies.open` write.

    Args:
        password_hash: The one that all users have; from `hash_password`.
        is_here: Tells whether a key belongs to this Redis, which is a node of a cluster: it gets no others.
    """

    def __init__(self, port: int, password_hash: str, is_here: Callable[[str], bool] = lambda key: True) -> None:
        self.client = Redis(port=port)
        self._is_here = is_here
        self.users = 0
        self.sessions = 0
        self.personal_tokens = 0
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._password_hash = password_hash
        self._keychain = KeyChain.of(SECRET)
        self._settings = Settings()
        self._scripts = {
            name: Script.load(f"gateway.{room}", name)
            for room, name in (
                ("accounts", "email_claim"),
                ("accounts", "user_create"),
                ("sessions", "family_open"),
                ("machines", "token_create"),
            )
        }
        for script in self._scripts.values():
            self.client.script_load(script.text)

    def add_users(self, upto: int) -> None:
        """Add users until there are so many."""
        alike = {
            "roles": ROLES.decode(),
            "is_active": "1",
            "created_at": "1790000000",
            "password_hash": self._password_hash,
            "password_version": "1",
        }
        rest = b"".join(_bulk(word.encode()) for field in alike.items() for word in field)
        create = _evalsha(self._scripts["user_create"].sha1, 1)
        claim = _evalsha(self._scripts["email_claim"].sha1, 1)

        def claiming(number: int) -> bytes:
            key = email_key(number)
            owner = _bulk(user_id_of(number).encode())
            return b"*6" + claim + _bulk(key.encode()) + owner + b"$0\r\n\r\n" if self._is_here(key) else b""

        def creating(number: int) -> bytes:
            key = user_key(number)
            return (
                b"*19" + create + _bulk(key.encode()) + _bulk(b"%d" % REFUSAL_KEPT_SECONDS)
                + _bulk(b"email") + _bulk(email_of(number).encode())
                + _bulk(b"name") + _bulk(b"User %d" % number) + rest
            ) if self._is_here(key) else b""  # fmt: skip

        numbers = range(self.users, upto)
        self._pipe(numbers, claiming, len(_bulk(user_id_of(0).encode())), b"$26\r\nusr_")
        self._pipe(numbers, creating, len(_bulk(b"there")), b"$5\r\nthere\r\n")
        self.users = max(self.users, upto)

    def add_sessions(self, upto: int) -> None:
        """Open a session for each user, until there are so many."""
        settings = self._settings
        lifetimes = settings.refresh_idle_ttl_seconds, settings.refresh_absolute_ttl_seconds
        rest = b"".join(_bulk(b"%d" % n) for n in (1, *lifetimes, settings.max_sessions_per_user)) + _bulk(TAIL)
        after = _bulk(b"1") + _bulk(b"0") + _bulk(b"")  # nonce, methods, second factor
        opening = _evalsha(self._scripts["family_open"].sha1, 3)

        def words(number: int) -> bytes:
            key = families_key(number)
            if not self._is_here(key):
                return b""
            keys = b"".join(_bulk(one.encode()) for one in (key, user_key(number), factors_key(number)))
            return b"*15" + opening + keys + _bulk(family_id_of(number).encode()) + rest + after

        milliseconds = len(":1790000000000\r\n")
        gave_way = len(":0\r\n")
        answer = len("*6\r\n") + len(_bulk(b"opened")) + len(_bulk(family_id_of(0).encode()))
        answer += 3 * milliseconds + gave_way
        self._pipe(range(self.sessions, upto), words, answer, b"$6\r\nopened\r\n")
        self.sessions = max(self.sessions, upto)

    def add_personal_tokens(self, upto: int) -> None:
        """Make a personal token for each user, with all that he may do, until there are so many."""
        rest = b"".join(_bulk(b"%d" % n) for n in (DEFAULT_DAYS * DAY_SECONDS, MAX_PER_USER))
        rest += _bulk(b"a script") + 2 * _bulk(b"")  # its name, and no roles of its own
        creating = _evalsha(self._scripts["token_create"].sha1, 2)

        def words(number: int) -> bytes:
            key = tokens_key(number)
            if not self._is_here(key):
                return b""
            names = (key, user_key(number), token_id_of(number))
            return b"*11" + creating + b"".join(_bulk(name.encode()) for name in names) + rest

        created, token_id = _bulk(b"created"), _bulk(token_id_of(0).encode())
        answer = len("*5\r\n") + len(created + token_id) + 2 * len(":1790000000000\r\n") + len(_bulk(ROLES))
        self._pipe(range(self.personal_tokens, upto), words, answer, created)
        self.personal_tokens = max(self.personal_tokens, upto)

    def refresh_tokens(self, numbers: list[int]) -> list[str]:
        """Give the first refresh tokens of these sessions."""
        keys = self._keychain.current
        return [RefreshToken(user_id_of(n), family_id_of(n), 0).format(keys) for n in numbers]

    def session_cookies(self, numbers: Iterable[int]) -> Iterator[str]:
        """Give the cookies of these sessions, of people who have logged in just now."""
        keys, now = self._keychain.current, system_clock()
        return (SessionCookie(user_id_of(n), family_id_of(n), now).format(keys) for n in numbers)

    def personal_token_texts(self, numbers: Iterable[int]) -> Iterator[str]:
        """Give these personal tokens."""
        keys = self._keychain.current
        return (PersonalToken(user_id_of(n), token_id_of(n)).format(keys) for n in numbers)

    def keep_first_sessions(self, numbers: list[int]) -> None:
        """Delete what these users have opened besides the session that was added here."""
        for number in numbers:
            key, kept = families_key(number), family_id_of(number).encode()
            if self._is_here(key) and (others := [field for field in self.client.hkeys(key) if field != kept]):
                self.client.hdel(key, *others)

    def is_like(self, user_id: str) -> bool:
        """Tell whether a user whom the product has added has the fields of those here."""
        ours, theirs = (self.client.hkeys(f"{PREFIX}user:{{{user}}}") for user in (user_id_of(0), user_id))
        return set(ours) == set(theirs)

    def remove_all(self) -> None:
        """Delete all users, their sessions and personal tokens."""
        for number in range(self.users):
            self.client.delete(user_key(number), families_key(number), tokens_key(number), email_key(number))
        self.users = self.sessions = self.personal_tokens = 0

    def used_memory(self) -> int:
        """
        Give the bytes that Redis has in use, without buffers of connections and of the append-only file, once no
        table is on the move to a larger one.
        """
        hz = self.client.config_get("hz")["hz"]
        self.client.config_set("hz", SETTLE_HZ)
        before, same_since = -1, time.monotonic()
        while time.monotonic() - same_since < SETTLE_SECONDS:
            facts = self.client.info("memory")
            now = facts["used_memory"] - facts["mem_clients_normal"] - facts.get("mem_aof_buffer", 0)
            if abs(now - before) > SETTLED_BYTES:
                before, same_since = now, time.monotonic()
            time.sleep(0.02)
        self.client.config_set("hz", hz or 10)
        return int(now)

    def _pipe(self, numbers: range, words: Callable[[int], bytes], answer_bytes: int, mark: bytes) -> None:
        """
        Send commands, one part ahead of the answers, each of which has this length and holds this mark.

        *words* gives the command of a number, or nothing where its key belongs to another node.
        """
        owed = 0
        for start in range(numbers.start, numbers.stop, PIPELINE):
            part = range(start, min(start + PIPELINE, numbers.stop))
            commands = [command for command in map(words, part) if command]
            self._connection.sendall(b"".join(commands))
            self._take_answers(owed, answer_bytes, mark)
            owed = len(commands)
        self._take_answers(owed, answer_bytes, mark)

    def _take_answers(self, count: int, answer_bytes: int, mark: bytes) -> None:
        answers = b"".join(self._read(answer_bytes * count))
        assert answers.count(mark) == count, answers[:500]

    def _read(self, count: int) -> Iterator[bytes]:
        while count > 0:
            octets = self._connection.recv(min(count, 65_536))
            assert octets, "Redis closed the connection"
            assert not ERROR.search(octets), octets[:500]
            count -= len(octets)
            yield octets


def hash_password(cost: int) -> str:
    """Give the hash of the password that all users have."""

    async def work() -> str:
        passwords = Passwords(KeyChain.of(SECRET), cost, 1, time.monotonic)
        try:
            return await passwords.hash(PASSWORD)
        finally:
            passwords.close()

    return asyncio.run(work())


def email_of(number: int) -> str:
    """Give the address of a user."""
    return f"user{number:07d}@example.com"


def user_id_of(number: int) -> str:
    """Give the id of a user, spelt as those that the product makes."""
    return "usr_" + _id(b"user", number)


def email_key(number: int) -> str:
    """Give the key that says whose this user's address is."""
    return f"{PREFIX}email:{hashlib.sha256(email_of(number).encode()).hexdigest()}"


def user_key(number: int) -> str:
    """Give the key of a user."""
    return f"{PREFIX}user:{{{user_id_of(number)}}}"


def families_key(number: int) -> str:
    """Give the key of a user's sessions."""
    return f"{PREFIX}families:{{{user_id_of(number)}}}"


def tokens_key(number: int) -> str:
    """Give the key of a user's personal tokens."""
    return f"{PREFIX}tokens:{{{user_id_of(number)}}}"


def factors_key(number: int) -> str:
    """Give the key of a user's second factors."""
    return f"{PREFIX}factors:{{{user_id_of(number)}}}"


def family_id_of(number: int) -> str:
    """Give the id of the session that was added for a user."""
    return _id(b"family", number)


def token_id_of(number: int) -> str:
    """Give the id of the personal token that was made for a user."""
    return TOKEN_ID_PREFIX + _id(b"token", number)


def _id(kind: bytes, number: int) -> str:
    digest = hashlib.blake2b(b"%s%d" % (kind, number), digest_size=16).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()


def _bulk(octets: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(octets), octets)


def _evalsha(sha1: str, keys: int) -> bytes:
    """Give the first words of a call, without the number of words before them."""
    return b"\r\n" + _bulk(b"EVALSHA") + _bulk(sha1.encode()) + _bulk(b"%d" % keys)
